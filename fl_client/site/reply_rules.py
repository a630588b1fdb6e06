"""What may leave a site: a reply is held against the message that it answers.

Knows no Flower object. Numbers that a reply is to hold are checked for kind, count and range; what
they mean cannot be.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fl_client.site.refusal import Refused
from models.head_names import HEADS
from strategies.layout import LAYOUT, Layout, LayoutError, Signature
from strategies.wire_format import signature
from training.config import parse

MAX_CLASSES = 16
MAX_STRING = 200

_SPLITS = ("train", "validation", "test")
_SECONDS = ("seconds-message", "seconds-training", *(f"seconds-{split}" for split in _SPLITS))
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


_REQUESTS = {
    "query": set[str](),
    "train": {"arrays", "text"},
    "evaluate": {"arrays", "text"},
    "query.heads": {"arrays", "text", "test"},
}


def check_request(kind: str, content: Content) -> None:
    """Check that a message is one that a site knows how to hold a reply against.

    Raises:
        Refused: its type or one of its records is not known here.
    """
    if kind not in _REQUESTS:
        raise Refused(f"messages of type {kind!r} are not known here")
    if content.configs.keys() - {LAYOUT} != {"config"} or content.metrics:
        raise Refused("the message's records are not a config and arrays")
    if unknown := content.arrays.keys() - _REQUESTS[kind]:
        raise Refused(f"a {kind} message contains no arrays {min(unknown)!r}")
    arrays = content.arrays.get("arrays")
    if arrays is not None and _layout_of(content).flat_signature() != arrays:
        raise Refused("the message's arrays are not as its layout says")


def check_reply(kind: str, request: Content, reply: Content, min_examples: int) -> None:
    """Hold a reply against the message that it answers.

    Args:
        kind: the message's type.
        request: what came; `check_request` has passed it.
        reply: what would leave.
        min_examples: counts of examples above zero and below this stay here.

    Raises:
        Refused: something is not declared, or too large, or of too few examples.
    """
    _check_records(kind, request, reply)
    if kind == "query":
        _check_introduction(reply.configs["client"])
    rules = _metric_rules(kind, request)
    metrics = reply.metrics["metrics"]
    for key, value in metrics.items():
        rule = rules.get(key)
        if rule is None:
            raise Refused("its metrics have a key that is not declared", repr(key))
        if not rule(value):
            raise Refused("one of its metrics is not of the declared kind", repr(key))
    _check_counts(metrics, min_examples)


def _check_records(kind: str, request: Content, reply: Content) -> None:
    configs = {"client"} if kind == "query" else set[str]()
    if reply.configs.keys() != configs or reply.metrics.keys() != {"metrics"}:
        raise Refused("its records are not those declared", repr(reply))
    expected = {"arrays": _update_of(request)} if kind == "train" else {}
    if reply.arrays.keys() != expected.keys():
        raise Refused("its records are not those declared", repr(sorted(reply.arrays)))
    for name, wanted in expected.items():
        if reply.arrays[name] != wanted:
            differing = reply.arrays[name].items() ^ wanted.items()
            raise Refused(
                "its arrays differ from those asked for in name, dtype or shape",
                repr(min(differing)[0]),
            )


def _update_of(request: Content) -> Signature:
    """Return the arrays that answer those that came, in the format that was asked for."""
    config = parse(tomllib.loads(str(request.configs["config"].get("experiment", ""))))
    return Layout(signature(_layout_of(request).signature, config.wire_format)).flat_signature()


def _layout_of(request: Content) -> Layout:
    try:
        return Layout.read(request.configs.get(LAYOUT))
    except LayoutError as error:
        raise Refused(str(error)) from None


def _check_introduction(client: Mapping[str, Any]) -> None:
    rules: dict[str, Callable[[Any], bool]] = {
        "name": _is_string,
        "dataset": _is_string,
        "device": _is_string,
        "classes": lambda value: (
            isinstance(value, list)
            and len(value) <= MAX_CLASSES
            and all(_is_string(name) for name in value)
        ),
        "fingerprint": _is_sha256,
        "base": _is_sha256,
        "synthetic": lambda value: isinstance(value, bool),
    }
    for key, value in client.items():
        if key not in rules or not rules[key](value):
            raise Refused("its introduction holds what is not declared", repr(key))


def _metric_rules(kind: str, request: Content) -> dict[str, Callable[[Any], bool]]:
    if kind == "query":
        return dict.fromkeys((*(f"num-{split}" for split in _SPLITS), "threads"), _is_count)
    rules: dict[str, Callable[[Any], bool]] = {"num-examples": _is_count}
    if kind == "query.heads":
        features = request.arrays.get("test", {}).get("features", ("", (0,)))[1]
        rows = features[0] if features else 0
        return rules | {f"{head}-predicted": _classes_of(rows) for head in HEADS}
    rules |= dict.fromkeys(_SECONDS, _is_float)
    if kind == "train":
        rules |= {"train-loss": _is_float, "optimizer-round": _is_count}
        splits = ["validation"]
    else:
        splits = str(request.configs["config"].get("splits", "")).split(",")
    for split in splits:
        if split in _SPLITS:
            rules[f"{split}-loss"] = _is_float
            rules[f"{split}-examples"] = _is_count
            rules[f"{split}-confusion"] = _is_confusion
            rules[f"{split}-patient-confusion"] = _is_confusion
    return rules


def _check_counts(metrics: Mapping[str, Any], min_examples: int) -> None:
    for key, value in metrics.items():
        counts_examples = key.startswith("num-") or key.endswith("-examples")
        if counts_examples and 0 < value < min_examples:
            raise Refused(f"one of its splits has fewer than {min_examples} images", repr(key))
        if key.endswith("-confusion"):
            split = key.removesuffix("-confusion").removesuffix("-patient")
            examples = metrics.get(f"{split}-examples", 0)
            total = sum(value)
            if total > examples or (total < examples and not key.endswith("-patient-confusion")):
                raise Refused("a confusion matrix does not count its split's images", repr(key))


def _is_string(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_STRING and value.isprintable()


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_float(value: Any) -> bool:
    return type(value) is float


def _is_confusion(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in {k * k for k in range(1, MAX_CLASSES + 1)}
        and all(_is_count(count) for count in value)
    )


def _classes_of(rows: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list)
        and len(value) == rows
        and all(_is_count(number) and number < MAX_CLASSES for number in value)
    )
