"""Histograms of a split's predicted probabilities: their bins, their form in a reply, their check.

Beside a split's confusion matrix a reply has four fields, or none of them: ``probabilities``,
``confidence``, ``confidence-sums`` and ``squared-error``, each after the split's name.
`training.score_counts` says what they count. All are sums over images, so the sums over clients are
those of the pooled images.

``probabilities`` has 2 K `BINS` counts, most of them zero. It is packed: for each count that is not
zero its distance to the one before, and the count itself. Flower writes most of these numbers in
one byte each. Given counts have one packed list only, so there is no room for anything else.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.refusal import Refused

# The inner edges of the bins of a class's probability: 1,024 equal bins, of which the first and the
# last are halved towards 0 and 1, again and again, since there a trained network has most of its
# probabilities. All are exact in binary; from 2⁻²⁴ below 1 on a float32 is 1.
EDGES = np.concatenate(
    [2.0 ** np.arange(-32, -10), np.arange(1, 1024) / 1024, 1 - 2.0 ** np.arange(-11, -25, -1)]
)
BINS = len(EDGES) + 1
CONFIDENCE_BINS = 15
FIELDS = ("probabilities", "confidence", "confidence-sums", "squared-error")

# Flower writes a count of at most 10⁷ in up to 4 bytes, a distance of less than 2¹⁷ in up to 3.
PACKED_BYTES = 7
# A probability is a float32, and may be 1 + 10⁻⁷.
_ROUNDING = 1e-5


def confidence_bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each answer's confidence, the probability of the class that it names.

    Bin b of `CONFIDENCE_BINS` holds confidences above b / `CONFIDENCE_BINS`, up to the next edge.
    """
    bins = np.ceil(confidence * CONFIDENCE_BINS).astype(np.int64) - 1
    return bins.clip(0, CONFIDENCE_BINS - 1)


def pack(counts: NDArray[np.int64]) -> list[int]:
    """Return counts, of any shape, as a packed list."""
    flat = counts.ravel()
    cells = np.flatnonzero(flat)
    pairs = np.stack([np.diff(cells, prepend=0), flat[cells]], axis=1)
    return [int(number) for number in pairs.flat]


def unpack(packed: Sequence[int], num_counts: int) -> NDArray[np.int64]:
    """Return the counts (num_counts,) of a valid packed list."""
    distances, counts = np.array(packed, dtype=np.int64).reshape(-1, 2).T
    flat = np.zeros(num_counts, dtype=np.int64)
    flat[distances.cumsum()] = counts
    return flat


def check_histograms(split: str, metrics: Mapping[str, Any]) -> None:
    """Check a split's histograms, if a reply has them, against its confusion matrix.

    Args:
        split: ``validation``, for example.
        metrics: of a reply, each field of its kind; the confusion matrix counts the split's images.

    Raises:
        Refused: some fields are missing, or contradict one another.
    """
    lacking = [name for name in FIELDS if f"{split}-{name}" not in metrics]
    if len(lacking) == len(FIELDS):
        return
    if lacking:
        raise Refused(f"its metrics have histograms, but lack {split}-{lacking[0]}")
    packed, confidence, sums, squared_error = (metrics[f"{split}-{name}"] for name in FIELDS)
    flat = np.array(metrics[f"{split}-confusion"])
    classes = math.isqrt(len(flat))
    confusion = flat.reshape(classes, classes)
    examples, of_class = int(confusion.sum()), confusion.sum(axis=1)

    if sum(packed[::2]) >= 2 * classes * BINS:
        raise Refused(f"its {split}-probabilities are of more classes than its {split}-confusion")
    histograms = unpack(packed, 2 * classes * BINS).reshape(classes, 2, BINS)
    if not np.array_equal(
        histograms.sum(axis=2), np.stack([examples - of_class, of_class], axis=1)
    ):
        raise Refused(f"its {split}-probabilities do not count the images of each class")
    lower, upper = np.append(0.0, EDGES), np.append(EDGES, 1.0)
    every = histograms.sum(axis=(0, 1))  # an image's probabilities sum to 1
    if not _within(examples, every @ lower, every @ upper):
        raise Refused(f"its {split}-probabilities do not sum to 1 for each image")

    wrong, right = np.array(confidence).reshape(CONFIDENCE_BINS, 2).T
    if (wrong.sum(), right.sum()) != (examples - confusion.trace(), confusion.trace()):
        raise Refused(f"its {split}-confidence does not count the images that are right and wrong")
    edges = np.arange(CONFIDENCE_BINS + 1) / CONFIDENCE_BINS
    counts = wrong + right
    for total, least, most in zip(sums, counts * edges[:-1], counts * edges[1:], strict=True):
        if not _within(total, least, most):
            raise Refused(f"its {split}-confidence-sums are not those of its {split}-confidence")

    negatives, positives = histograms.sum(axis=0)
    least = negatives @ lower**2 + positives @ (1 - upper) ** 2
    most = negatives @ upper**2 + positives @ (1 - lower) ** 2
    if not _within(squared_error, least, most):
        raise Refused(f"its {split}-squared-error is not that of its {split}-probabilities")


def _within(value: float, least: float, most: float) -> bool:
    return least * (1 - _ROUNDING) - _ROUNDING <= value <= most * (1 + _ROUNDING) + _ROUNDING
