"""The reply to each message: every field's type, size and range, declared once.

The guard of a site checks a reply before anything leaves. The coordinator checks it before it
allocates memory for the arrays, and once more against the client's introduction.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from operation.files import parse_toml
from strategies.field_kinds import (
    MAX_CLASSES,
    MAX_EXAMPLES,
    Count,
    Counts,
    Flag,
    Kind,
    PackedCounts,
    Real,
    Reals,
    Sha256,
    Text,
    Texts,
)
from strategies.histograms import BINS, CONFIDENCE_BINS, FIELDS, PACKED_BYTES
from strategies.layout import LAYOUT, Layout, LayoutError, Signature
from strategies.method import Method
from strategies.methods import DEFAULT, METHODS
from strategies.refusal import Refused
from strategies.reply_form import RECORD_BYTES, Content, ReplyForm
from strategies.temperature_losses import FIELD as TEMPERATURE_LOSSES
from strategies.temperature_losses import losses_kind
from strategies.wire_format import FORMATS, signature

MAX_THREADS = 2**16
# Longer than any message exists.
MAX_SECONDS = 1e6
# The loss of a diverging network may reach float32's maximum.
MAX_LOSS = float(np.finfo(np.float32).max)

SPLITS = ("train", "validation", "test")
# The test split, evaluated with the shared model, where clients have models of their own.
SHARED_TEST = "shared-test"
JUDGED = (*SPLITS, SHARED_TEST)
# The metric of an introduction with the number of training images of each class.
CLASS_COUNTS = "class-counts"
# Maximum bytes that each answer of a head adds to the record.
_ANSWER_BYTES = 10


@dataclass(frozen=True)
class Announced:
    """The facts about a client that are known before it replies.

    Attributes:
        num_classes: K, of the run.
        sizes: number of its images by split, from its introduction.
        by_patient: whether images of the run's data set may be grouped by patient.
    """

    num_classes: int
    sizes: Mapping[str, int]
    by_patient: bool


def form_of(
    kind: str,
    request: Content,
    announced: Announced | None = None,
    methods: Mapping[str, Method] = METHODS,
    experiment: Mapping[str, Any] | None = None,
) -> ReplyForm:
    """Return the form of the replies to a message.

    Args:
        kind: the message's type: ``query``, ``train``, ``evaluate`` or ``query.heads``.
        request: the content of the message.
        announced: known facts about the client, if any.
        methods: by name.
        experiment: the keys of the config in the message, if they are parsed already.

    Raises:
        Refused: the message has no valid reply.
    """
    settings = request.configs.get("config", {})
    if experiment is None and kind != "evaluate":
        experiment = _experiment(settings)
    experiment = experiment or {}
    if kind == "query":
        return _introduction(experiment)
    if kind == "query.heads":
        return _heads(request, experiment, announced)
    splits: tuple[str, ...]
    if kind == "train":
        splits = ("validation",) if _whole(settings.get("round")) > 1 else ()
    elif kind == "evaluate":
        splits = tuple(s for s in str(settings.get("splits", "")).split(",") if s in JUDGED)
    else:
        raise Refused(f"messages of type {kind!r} are not known here")
    metrics: dict[str, Kind] = {}
    for split in splits:
        metrics |= _figures(split, announced)
    if kind == "evaluate" and "validation" in splits:
        metrics[f"validation-{TEMPERATURE_LOSSES}"] = losses_kind(
            _examples("validation", announced).most
        )
    of_some = ("-patient-confusion", *FIELDS, TEMPERATURE_LOSSES)
    optional = {key for key in metrics if key.endswith(of_some)}
    optional |= {key for key in metrics if key.startswith("seconds-")}
    arrays: dict[str, Signature] = {}
    if kind == "train":
        metrics |= {
            "num-examples": _trained_on(announced),
            "train-loss": Real(MAX_LOSS),
            "optimizer-round": Count(max(0, _whole(settings.get("round")) - 1)),
            "seconds-training": Real(MAX_SECONDS),
            "seconds-message": Real(MAX_SECONDS),
        }
        optional.add("seconds-training")
        arrays["arrays"] = _update(request, experiment)
        metrics |= _scalars(experiment, announced, methods)
    else:
        metrics["num-examples"] = Count(len(JUDGED) * MAX_EXAMPLES)
    packed = sum(k.length * PACKED_BYTES for k in metrics.values() if isinstance(k, PackedCounts))
    return ReplyForm({}, metrics, frozenset(optional), arrays, splits, RECORD_BYTES + packed)


def _introduction(experiment: Mapping[str, Any]) -> ReplyForm:
    client: dict[str, Kind] = {
        "name": Text(),
        "classes": Texts(),
        "dataset": Text(),
        "fingerprint": Sha256(),
        "device": Text(),
        "synthetic": Flag(),
        "base": Sha256(),
    }
    metrics: dict[str, Kind] = {f"num-{split}": Count() for split in SPLITS}
    metrics["threads"] = Count(MAX_THREADS, least=1)
    if experiment.get("class-counts") == "federation":  # a site's policy may forbid them
        metrics[CLASS_COUNTS] = Counts(tuple(range(1, MAX_CLASSES + 1)), MAX_EXAMPLES)
    return ReplyForm(client, metrics, frozenset({"base", CLASS_COUNTS}), {})


def _heads(
    request: Content, experiment: Mapping[str, Any], announced: Announced | None
) -> ReplyForm:
    shape = request.arrays.get("test", {}).get("features", ("", (0,)))[1]
    rows = shape[0] if shape else 0
    classes = announced.num_classes if announced else MAX_CLASSES
    metrics: dict[str, Kind] = {"num-examples": _trained_on(announced)}
    heads = str(experiment.get("heads", "")).split(",")
    for head in heads:
        metrics[f"{head}-predicted"] = Counts((rows,), classes - 1)
    size = RECORD_BYTES + len(heads) * rows * _ANSWER_BYTES
    return ReplyForm({}, metrics, frozenset(), {}, record_bytes=size)


def _figures(split: str, announced: Announced | None) -> dict[str, Kind]:
    classes = range(1, MAX_CLASSES + 1) if announced is None else (announced.num_classes,)
    examples = _examples(split, announced)
    confusion = Counts(tuple(k * k for k in classes), examples.most, "K²")
    # For each of the four fields `strategies.histograms` says what it holds.
    histograms: tuple[Kind, ...] = (
        PackedCounts(2 * max(classes) * BINS, examples.most),
        Counts((2 * CONFIDENCE_BINS,), examples.most),
        Reals(CONFIDENCE_BINS, 1.0 + examples.most),
        Real(2.0 + 2 * examples.most),
    )
    by_patient = announced is None or announced.by_patient
    return {
        f"{split}-loss": Real(MAX_LOSS),
        f"{split}-examples": examples,
        f"{split}-confusion": confusion,
        **({f"{split}-patient-confusion": confusion} if by_patient else {}),
        **{f"{split}-{name}": kind for name, kind in zip(FIELDS, histograms, strict=True)},
        f"seconds-{split}": Real(MAX_SECONDS),
    }


def _examples(split: str, announced: Announced | None) -> Count:
    of = "test" if split == SHARED_TEST else split
    if announced is None or of not in announced.sizes:
        return Count()
    return Count(announced.sizes[of], least=announced.sizes[of])


def _trained_on(announced: Announced | None) -> Count:
    """The number of training images; at least two, since fewer cannot be trained on."""
    if announced is None or "train" not in announced.sizes:
        return Count(least=2)
    return Count(announced.sizes["train"], least=max(2, announced.sizes["train"]))


def _scalars(
    experiment: Mapping[str, Any], announced: Announced | None, methods: Mapping[str, Method]
) -> dict[str, Kind]:
    """The numbers that the run's method has clients report."""
    name = str(experiment.get("strategy", DEFAULT))
    if name not in methods:
        raise Refused("the message asks for no known strategy")
    images = None if announced is None else announced.sizes.get("train")
    return {key: kind(experiment, images) for key, kind in methods[name].scalars.items()}


def _update(request: Content, experiment: Mapping[str, Any]) -> Signature:
    """The arrays of a reply to the received ones, in the requested format."""
    wire_format = experiment.get("wire-format", FORMATS[0])
    if wire_format not in FORMATS:
        raise Refused("the message asks for no known wire-format")
    try:
        layout = Layout.read(request.configs.get(LAYOUT))
    except LayoutError as error:
        raise Refused(str(error)) from None
    return Layout(signature(layout.signature, wire_format)).flat_signature()


def _experiment(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return _parsed(str(settings.get("experiment", "")))
    except tomllib.TOMLDecodeError:
        raise Refused("the message's experiment is not TOML") from None


@lru_cache(maxsize=4)
def _parsed(experiment: str) -> Mapping[str, Any]:
    """Parse a config once for all messages of a round, which hold the same one."""
    return parse_toml(experiment)


def _whole(value: object) -> int:
    return value if type(value) is int else 0
