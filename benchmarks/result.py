"""The result of one measurement: its samples, the figure computed from them and the target."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured figure.

    Attributes:
        name: its name in the tables.
        compares: which two things are compared, in one sentence.
        value: the figure.
        unit: ``x`` for a ratio, otherwise the unit of the figure.
        samples: the raw numbers by side, in the order they were taken.
        samples_unit: the unit of the samples.
        at_most: the target, if less is better.
        at_least: the target, if more is better.
        details: anything else that explains the figure: settings, parts, checks.
    """

    name: str
    compares: str
    value: float
    unit: str
    samples: Mapping[str, Sequence[float]]
    samples_unit: str = "s"
    at_most: float | None = None
    at_least: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def medians(self) -> dict[str, float]:
        """The median of each side's samples."""
        return {side: statistics.median(numbers) for side, numbers in self.samples.items()}

    @property
    def target(self) -> str:
        """The target in words, empty if there is none."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None if there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for a JSON file."""
        return {
            "name": self.name,
            "compares": self.compares,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "met": self.met,
            "repeats": {side: len(numbers) for side, numbers in self.samples.items()},
            "medians": self.medians,
            "samples_unit": self.samples_unit,
            "samples": {side: list(numbers) for side, numbers in self.samples.items()},
            "details": dict(self.details),
        }


def ratio(over: str, under: str, samples: Mapping[str, Sequence[float]]) -> float:
    """Return the median of one side's samples over that of the other's."""
    return statistics.median(samples[over]) / statistics.median(samples[under])
