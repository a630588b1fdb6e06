"""The form of replies: every field's type, size and range, declared once.

The guard of a site checks a reply before anything leaves. The coordinator checks it before it
allocates memory for the arrays, and once more against the client's introduction.
"""

import re
import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord

from operation.parsing import parse_toml
from strategies.layout import LAYOUT, Layout, LayoutError, Signature
from strategies.refusal import Refused
from strategies.wire_format import FORMATS, signature

MAX_CLASSES = 16
MAX_TEXT = 200
MAX_EXAMPLES = 10**7
MAX_THREADS = 2**16
# Longer than any message exists.
MAX_SECONDS = 1e6
# The loss of a diverging network may reach float32's maximum.
MAX_LOSS = float(np.finfo(np.float32).max)

SPLITS = ("train", "validation", "test")
# Maximum bytes of a record of settings or metrics; each answer of a head adds ten at most.
RECORD_BYTES = 2**16
_ANSWER_BYTES = 10

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass
class Content:
    """The records of a message by name.

    Attributes:
        configs, metrics: their entries.
        arrays: dtype and shape of each array.
    """

    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: dict[str, Signature] = field(default_factory=dict)

    @classmethod
    def of(cls, message: Message) -> "Content":
        """Return the records of a message that is completely in memory."""
        content = cls()
        for name, record in message.content.items():
            match record:
                case ConfigRecord():
                    content.configs[name] = dict(record)
                case MetricRecord():
                    content.metrics[name] = dict(record)
                case ArrayRecord():
                    content.arrays[name] = {
                        key: (array.dtype, tuple(array.shape)) for key, array in record.items()
                    }
        return content


@dataclass(frozen=True)
class Count:
    """A whole number in a range, both ends included."""

    most: int = MAX_EXAMPLES
    least: int = 0

    def admits(self, value: object) -> bool:
        return type(value) is int and self.least <= value <= self.most

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.most)
        return f"a whole number from {self.least} to {self.most}"


@dataclass(frozen=True)
class Real:
    """A floating-point number from 0 to a maximum, so neither NaN nor infinite."""

    most: float

    def admits(self, value: object) -> bool:
        return type(value) is float and 0 <= value <= self.most

    def __str__(self) -> str:
        return f"a number from 0 to {self.most:.3g}"


@dataclass(frozen=True)
class Counts:
    """A list of counts.

    Attributes:
        lengths: allowed lengths of the list.
        most: maximum of each count.
    """

    lengths: tuple[int, ...]
    most: int

    def admits(self, value: object) -> bool:
        each = Count(self.most)
        return (
            isinstance(value, list)
            and len(value) in self.lengths
            and all(each.admits(number) for number in value)
        )

    def __str__(self) -> str:
        many = f"{self.lengths[0]}" if len(self.lengths) == 1 else "K²"
        return f"{many} whole numbers from 0 to {self.most}"


@dataclass(frozen=True)
class Text:
    """A line of 1 to `MAX_TEXT` printable characters."""

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()

    def __str__(self) -> str:
        return f"a line of at most {MAX_TEXT} printable characters"


@dataclass(frozen=True)
class Texts:
    """A list of 1 to `MAX_CLASSES` different lines."""

    def admits(self, value: object) -> bool:
        return (
            isinstance(value, list)
            and 0 < len(value) <= MAX_CLASSES
            and all(Text().admits(line) for line in value)
            and len(set(value)) == len(value)
        )

    def __str__(self) -> str:
        return f"1 to {MAX_CLASSES} different lines of at most {MAX_TEXT} printable characters"


@dataclass(frozen=True)
class Sha256:
    """A sha256 in hexadecimal digits."""

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and _SHA256.fullmatch(value) is not None

    def __str__(self) -> str:
        return "a sha256 in 64 hexadecimal digits"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def admits(self, value: object) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


Kind = Count | Real | Counts | Text | Texts | Sha256 | Flag


@dataclass(frozen=True)
class Announced:
    """The facts about a client that are known before it replies.

    Attributes:
        num_classes: K, of the run.
        sizes: number of its images by split, from its introduction.
    """

    num_classes: int
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class ReplyForm:
    """The allowed content of the reply to one message.

    Attributes:
        client: fields of the settings record ``client``; if empty, there is no such record.
        metrics: fields of the record ``metrics``.
        optional: fields that may be missing.
        arrays: dtype and shape of each array by name, by record.
        splits: the splits whose images the reply counts.
        record_bytes: maximum bytes of a record of settings or metrics.
    """

    client: Mapping[str, Kind]
    metrics: Mapping[str, Kind]
    optional: frozenset[str]
    arrays: Mapping[str, Signature]
    splits: tuple[str, ...] = ()
    record_bytes: int = RECORD_BYTES

    @property
    def records(self) -> set[str]:
        """The names of a reply's records."""
        return {"metrics", *(("client",) if self.client else ()), *self.arrays}

    def check(self, reply: Content) -> None:
        """Check a reply against this form.

        Raises:
            Refused: names the first field that is missing, unknown, or out of its range.
        """
        configs = {"client"} if self.client else set[str]()
        if (reply.configs.keys(), reply.metrics.keys()) != (configs, {"metrics"}):
            raise Refused("its records are not those declared", _names(reply))
        if reply.arrays.keys() != self.arrays.keys():
            raise Refused("its records are not those declared", _names(reply))
        for record, wanted in self.arrays.items():
            if reply.arrays[record] != wanted:
                differing = reply.arrays[record].items() ^ wanted.items()
                raise Refused(
                    "its arrays differ from those asked for in name, dtype or shape",
                    repr(min(name for name, _ in differing)),
                )
        if self.client:
            self._check_fields("introduction", self.client, reply.configs["client"])
        metrics = reply.metrics["metrics"]
        self._check_fields("metrics", self.metrics, metrics)
        self._check_counts(metrics)

    def _check_fields(
        self, what: str, fields: Mapping[str, Kind], values: Mapping[str, Any]
    ) -> None:
        if unknown := values.keys() - fields.keys():
            verb = "have" if what == "metrics" else "has"
            raise Refused(
                f"its {what} {verb} a key that is not declared", reprlib.repr(min(unknown))
            )
        for key, kind in fields.items():
            if key not in values:
                if key not in self.optional:
                    verb = "lack" if what == "metrics" else "lacks"
                    raise Refused(f"its {what} {verb} {key}")
            elif not kind.admits(values[key]):
                raise Refused(f"its {key} is not {kind}", reprlib.repr(values[key]))

    def _check_counts(self, metrics: Mapping[str, Any]) -> None:
        for split in self.splits:
            examples = metrics[f"{split}-examples"]
            if sum(metrics[f"{split}-confusion"]) != examples:
                raise Refused(f"its {split}-confusion does not count its {examples} images")
            if sum(metrics.get(f"{split}-patient-confusion", ())) > examples:
                raise Refused(f"its {split}-patient-confusion counts more than its images")
        if self.splits and "train-loss" not in self.metrics:
            together = sum(metrics[f"{split}-examples"] for split in self.splits)
            if metrics["num-examples"] != together:
                raise Refused("its num-examples is not the sum of its splits' examples")


def form_of(kind: str, request: Content, announced: Announced | None = None) -> ReplyForm:
    """Return the form of the replies to a message.

    Args:
        kind: the message's type: ``query``, ``train``, ``evaluate`` or ``query.heads``.
        request: the content of the message.
        announced: known facts about the client, if any.

    Raises:
        Refused: the message has no valid reply.
    """
    settings = request.configs.get("config", {})
    if kind == "query":
        return _introduction()
    if kind == "query.heads":
        return _heads(request, _experiment(settings), announced)
    splits: tuple[str, ...]
    if kind == "train":
        splits = ("validation",) if _whole(settings.get("round")) > 1 else ()
    elif kind == "evaluate":
        splits = tuple(s for s in str(settings.get("splits", "")).split(",") if s in SPLITS)
    else:
        raise Refused(f"messages of type {kind!r} are not known here")
    metrics: dict[str, Kind] = {}
    for split in splits:
        metrics |= _figures(split, announced)
    optional = {key for key in metrics if key.endswith("-patient-confusion")}
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
        arrays["arrays"] = _update(request, _experiment(settings))
    else:
        metrics["num-examples"] = Count(len(SPLITS) * MAX_EXAMPLES)
    return ReplyForm({}, metrics, frozenset(optional), arrays, splits)


def _introduction() -> ReplyForm:
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
    return ReplyForm(client, metrics, frozenset({"base"}), {})


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
    examples = Count()
    if announced is not None and split in announced.sizes:
        examples = Count(announced.sizes[split], least=announced.sizes[split])
    confusion = Counts(tuple(k * k for k in classes), examples.most)
    return {
        f"{split}-loss": Real(MAX_LOSS),
        f"{split}-examples": examples,
        f"{split}-confusion": confusion,
        f"{split}-patient-confusion": confusion,
        f"seconds-{split}": Real(MAX_SECONDS),
    }


def _trained_on(announced: Announced | None) -> Count:
    """The number of training images; at least two, since fewer cannot be trained on."""
    if announced is None or "train" not in announced.sizes:
        return Count(least=2)
    return Count(announced.sizes["train"], least=max(2, announced.sizes["train"]))


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


def _experiment(settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return parse_toml(str(settings.get("experiment", "")))
    except tomllib.TOMLDecodeError:
        raise Refused("the message's experiment is not TOML") from None


def _whole(value: object) -> int:
    return value if type(value) is int else 0


def _names(reply: Content) -> str:
    return repr(sorted([*reply.configs, *reply.metrics, *reply.arrays]))
