"""How far models differ in every score on the same test images, with bootstrap intervals.

The same units are drawn with replacement for all models, and the scores are computed anew from
each draw. A unit is a lesion or a patient with all its images, because these are not independent.
B. Efron, R. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.histograms import CONFIDENCE_BINS, confidence_bins
from training.score_counts import Answers, Histograms, ScoreCounts
from training.scores import score_block
from training.uncertainty import PERCENTILES, RESAMPLES

# Limits the memory at a time, in counts of 8 bytes.
_BLOCK = 2**22


@dataclass(frozen=True)
class Difference:
    """A difference and its 95 % interval, in the score's own unit.

    ``low`` and ``high`` are the percentiles 2.5 and 97.5 of the draws in which the score is
    defined; None if it is in none.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ScoreDifferences:
    """The scores of some sides, and how each further side differs from the first.

    Names are those of `training.scores`; a class's figure is named such as ``auroc.mel``. What is
    not defined for a side is None.

    Attributes:
        scores: of each side; of several models the mean.
        differences: of each side after the first: its scores minus those of the first.
    """

    scores: Sequence[Mapping[str, float | None]]
    differences: Sequence[Mapping[str, Difference | None]]


class RepeatedAnswers:
    """Counts a classifier's answers, each image as often as wanted."""

    def __init__(self, answers: Answers) -> None:
        # As `Answers.counts` counts them, with a bin for each probability that occurs.
        values = answers.probabilities.astype(np.float32).astype(np.float64)
        truth = answers.labels[:, None] == np.arange(values.shape[1])
        predicted = answers.predicted
        self._num_classes = values.shape[1]
        self._cells = answers.labels * self._num_classes + predicted
        self._confidence = values[np.arange(len(values)), predicted]
        self._bins = confidence_bins(self._confidence)
        self._right = 2 * self._bins + (predicted == answers.labels)
        self._squared_error = np.square(values - truth).sum(axis=1)
        # The bins of all classes side by side, so that one count serves them all.
        found = [np.unique(column, return_inverse=True) for column in values.T]
        self._num_bins = np.array([len(probabilities) for probabilities, _ in found])
        self._starts = 2 * np.append(0, self._num_bins.cumsum())
        self._places = np.stack(
            [
                start + positive * number + inverse
                for start, positive, number, (_, inverse) in zip(
                    self._starts, truth.T, self._num_bins, found, strict=False
                )
            ],
            axis=1,
        )

    def counts(self, times: NDArray[np.int64]) -> ScoreCounts:
        """Return the counts with each image repeated.

        Args:
            times: (n,) how often each image counts, 0 or more.
        """
        repeated = np.repeat(times, self._num_classes)
        flat = _sums(self._places.ravel(), int(self._starts[-1]), repeated)
        confusion = _sums(self._cells, self._num_classes**2, times)
        return ScoreCounts(
            confusion.reshape(self._num_classes, self._num_classes),
            Histograms(
                [
                    flat[start : start + 2 * number].reshape(2, number)
                    for start, number in zip(self._starts, self._num_bins, strict=False)
                ],
                _sums(self._right, 2 * CONFIDENCE_BINS, times).reshape(CONFIDENCE_BINS, 2),
                np.bincount(self._bins, times * self._confidence, CONFIDENCE_BINS).astype(
                    np.float64
                ),
                float(times @ self._squared_error),
            ),
        )


def _sums(places: NDArray[np.int64], size: int, times: NDArray[np.int64]) -> NDArray[np.int64]:
    # Exact: float64 holds whole numbers up to 2^53.
    return np.bincount(places, times, size).astype(np.int64)


def score_differences(
    sides: Sequence[Sequence[Answers]],
    classes: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    best_by: str = "loss",
    resamples: int = RESAMPLES,
) -> ScoreDifferences:
    """Compare the models of the further sides with those of the first.

    Args:
        sides: at least two; each has the answers of one or more models for the same n images, one
            at least, in the same order.
        classes: names of the K classes.
        groups: (n,) the number of each image's lesion or patient, from 0; None: images are drawn.
        best_by: as for `training.scores.score_block`.
        resamples: how often units are drawn.
    """
    counters = [[RepeatedAnswers(answers) for answers in side] for side in sides]
    num_images = len(sides[0][0].labels)
    units = np.arange(num_images) if groups is None else groups

    def scored(times: NDArray[np.int64]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for side in counters:
            figures = [_figures(one.counts(times), classes, best_by) for one in side]
            for name in figures[0]:
                mean = float(np.mean([each[name] for each in figures]))
                found.setdefault(name, []).append(mean)
        return found

    points = scored(np.ones(num_images, dtype=np.int64))
    drawn = np.array([[*scored(times).values()] for times in _draws(units, resamples)])
    apart = drawn[:, :, 1:] - drawn[:, :, :1]  # (resamples, scores, sides - 1)
    return ScoreDifferences(
        [{name: _defined(of[side]) for name, of in points.items()} for side in range(len(sides))],
        [
            {
                name: _difference(of[side] - of[0], apart[:, row, side - 1])
                for row, (name, of) in enumerate(points.items())
            }
            for side in range(1, len(sides))
        ],
    )


def _figures(counts: ScoreCounts, classes: Sequence[str], best_by: str) -> dict[str, float]:
    """Return every score, and those of classes; NaN where one is not defined."""
    block = score_block(counts, best_by)
    by_class = block.pop("by_class")
    found = {name: value for name, value in block.items() if name not in ("confusion", "n")}
    for name, figures in by_class.items():
        found |= {f"{name}.{label}": figure for label, figure in zip(classes, figures, strict=True)}
    return {name: math.nan if value is None else value for name, value in found.items()}


def _draws(units: NDArray[np.int64], resamples: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each image (n,) is drawn, if as many units as there are are drawn."""
    num_units = int(units.max()) + 1
    generator = np.random.default_rng(0)
    block = max(1, _BLOCK // num_units)
    shares = np.full(num_units, 1 / num_units)
    for start in range(0, resamples, block):
        for times in generator.multinomial(num_units, shares, min(block, resamples - start)):
            yield times[units]


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _difference(value: float, drawn: NDArray[np.float64]) -> Difference | None:
    if math.isnan(value):
        return None
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return Difference(value, None, None)
    low, high = np.percentile(defined, PERCENTILES)
    return Difference(value, float(low), float(high))
