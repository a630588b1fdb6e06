"""The form of a reply: the records and fields that it must hold, and the check of it.

`strategies.expected_replies` declares the form of the reply to each message.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord

from strategies.field_kinds import Kind
from strategies.histograms import check_histograms
from strategies.layout import Signature
from strategies.refusal import Refused
from strategies.temperature_losses import FIELD as TEMPERATURE_LOSSES
from strategies.temperature_losses import check_losses

# Maximum bytes of a record of settings or metrics, unless its form says otherwise.
RECORD_BYTES = 2**16


@dataclass
class Content:
    """The records of a message by name."""

    # configs, metrics: their entries.
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: dict[str, Signature] = field(default_factory=dict)  # dtype and shape of each array

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
class ReplyForm:
    """The allowed content of the reply to one message."""

    # Fields of the settings record ``client``; if empty, there is no such record.
    client: Mapping[str, Kind]
    metrics: Mapping[str, Kind]  # fields of the record ``metrics``
    optional: frozenset[str]  # fields that may be missing
    arrays: Mapping[str, Signature]  # dtype and shape of each array by name, by record
    splits: tuple[str, ...] = ()  # the splits whose images the reply counts
    record_bytes: int = RECORD_BYTES  # maximum bytes of a record of settings or metrics

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
            patients = metrics.get(f"{split}-patient-confusion")
            if patients is not None and not min(1, examples) <= sum(patients) <= examples:
                raise Refused(
                    f"its {split}-patient-confusion counts no patient, or more than images",
                    f"{sum(patients)} patients, {examples} images",
                )
            check_histograms(split, metrics)
            if f"{split}-{TEMPERATURE_LOSSES}" in self.metrics:
                check_losses(split, metrics)
        if self.splits and "train-loss" not in self.metrics:
            together = sum(metrics[f"{split}-examples"] for split in self.splits)
            if metrics["num-examples"] != together:
                raise Refused("its num-examples is not the sum of its splits' examples")


def _names(reply: Content) -> str:
    return repr(sorted([*reply.configs, *reply.metrics, *reply.arrays]))
