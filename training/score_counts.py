"""What scores are computed from: sums over images, so that the clients' sums give pooled scores.

No prediction is needed for a pooled score: its counts are summed over the clients, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.histograms import (
    BINS,
    CONFIDENCE_BINS,
    EDGES,
    FIELDS,
    confidence_bins,
    pack,
    unpack,
)
from training.metrics import Confusion, by_patient, confusion_matrix, metrics, pool


@dataclass(frozen=True)
class Histograms:
    """Counts of n images by their predicted probabilities.

    Attributes:
        of_class: for each of K classes (2, B) counts: of the images that are not of the class, and
            of those that are, how many have a probability of the class in each bin. The bins
            ascend: those between `EDGES`, or one for each probability that occurs.
        confidence: (`CONFIDENCE_BINS`, 2) counts: how many images are wrong, and how many right, in
            each equal bin of the predicted class's probability; the upper edge belongs to the bin.
        confidence_sums: (`CONFIDENCE_BINS`,) float64, the sums of those probabilities; exact, since
            float64 has room for 10⁷ float32 of one bin of which none is below 1/32.
        squared_error: sum over images and classes of (p − 1)² if the class is the image's, else p².
    """

    of_class: Sequence[NDArray[np.int64]]
    confidence: NDArray[np.int64]
    confidence_sums: NDArray[np.float64]
    squared_error: float

    @property
    def num_images(self) -> int:
        """n."""
        return int(self.confidence.sum())

    def __add__(self, other: Histograms) -> Histograms:
        """Add the histograms of other images, of the same bins."""
        return Histograms(
            [ours + theirs for ours, theirs in zip(self.of_class, other.of_class, strict=True)],
            self.confidence + other.confidence,
            self.confidence_sums + other.confidence_sums,
            self.squared_error + other.squared_error,
        )

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of a reply (`strategies.histograms`), without the split's name."""
        values = (
            pack(np.array(self.of_class)),
            [int(count) for count in self.confidence.flat],
            [float(total) for total in self.confidence_sums],
            float(self.squared_error),
        )
        return dict(zip(FIELDS, values, strict=True))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any], num_classes: int) -> Histograms | None:
        """Return the histograms in the fields of a reply; None if it has none."""
        if FIELDS[0] not in fields:
            return None
        packed, confidence, sums, squared_error = (fields[name] for name in FIELDS)
        return cls(
            list(unpack(packed, 2 * num_classes * BINS).reshape(num_classes, 2, BINS)),
            np.array(confidence, dtype=np.int64).reshape(CONFIDENCE_BINS, 2),
            np.array(sums, dtype=np.float64),
            float(squared_error),
        )


@dataclass(frozen=True)
class ScoreCounts:
    """The counts of some images."""

    confusion: Confusion  # (K, K), true classes in rows
    # Of the same images; None if only predicted classes are known. Pooled, they are of the clients
    # that send them.
    histograms: Histograms | None = None

    @property
    def num_images(self) -> int:
        """n."""
        return int(self.confusion.sum())

    @cached_property
    def study(self) -> dict[str, float | None]:
        """The study's six figures (docs/study.md)."""
        return metrics(self.confusion)

    @classmethod
    def pooled(cls, parts: Iterable[ScoreCounts], num_classes: int) -> ScoreCounts:
        """Return the sum of the counts of some clients."""
        return reduce(cls.plus, parts, cls(pool((), num_classes)))

    def plus(self, other: ScoreCounts) -> ScoreCounts:
        """Return the sum of the counts of two clients, or of some and another one."""
        known = [part.histograms for part in (self, other) if part.histograms is not None]
        histograms = sum(known[1:], known[0]) if known else None
        return ScoreCounts(self.confusion + other.confusion, histograms)


@dataclass(frozen=True)
class Answers:
    """A classifier's answers for n images, or n patients."""

    probabilities: NDArray[np.floating]  # (n, K), rows sum to 1
    labels: NDArray[np.int64]  # (n,) true classes, each in [0, K)
    # (n,) predicted classes; None: the most probable ones, the first on ties.
    chosen: NDArray[np.int64] | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted classes (n,)."""
        return self.probabilities.argmax(axis=1) if self.chosen is None else self.chosen

    @property
    def confusion(self) -> Confusion:
        """Counts (K, K), true classes in rows."""
        return confusion_matrix(self.labels, self.predicted, self.probabilities.shape[1])

    def part(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Answers:
        """Return the answers for some images, by their numbers or a mask (n,)."""
        chosen = None if self.chosen is None else self.chosen[which]
        return Answers(self.probabilities[which], self.labels[which], chosen)

    def by_patient(self, patients: NDArray[np.int64]) -> Answers:
        """Return the mean probabilities of each patient's images, with the most probable class.

        Args:
            patients: (n,) the number of each image's patient, whose images have one label.
        """
        return Answers(*by_patient(self.probabilities, self.labels, patients))

    def counts(self, *, exact: bool = True) -> ScoreCounts:
        """Count the answers.

        Args:
            exact: give every probability that occurs a bin of its own. Otherwise the bins are those
                of every client, so that the counts can be summed.
        """
        predicted = self.predicted
        # As predictions are stored.
        values = self.probabilities.astype(np.float32).astype(np.float64)
        truth = self.labels[:, None] == np.arange(values.shape[1])
        confidence = values[np.arange(len(values)), predicted]
        bins = confidence_bins(confidence)
        right = np.bincount(2 * bins + (predicted == self.labels), minlength=2 * CONFIDENCE_BINS)
        return ScoreCounts(
            self.confusion,
            Histograms(
                [_histogram(*of, exact=exact) for of in zip(values.T, truth.T, strict=True)],
                right.reshape(CONFIDENCE_BINS, 2),
                np.bincount(bins, confidence, CONFIDENCE_BINS).astype(np.float64),
                float(np.square(values - truth).sum()),
            ),
        )


def _histogram(
    probabilities: NDArray[np.float64], positive: NDArray[np.bool_], *, exact: bool
) -> NDArray[np.int64]:
    """Return for one class (2, B) counts of negative and of positive images."""
    if exact:
        found, bins = np.unique(probabilities, return_inverse=True)
        num_bins = len(found)
    else:
        bins, num_bins = np.searchsorted(EDGES, probabilities, side="right"), BINS
    counts = np.bincount(positive * num_bins + bins, minlength=2 * num_bins)
    return counts.reshape(2, num_bins)
