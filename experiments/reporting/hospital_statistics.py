"""What a hospital's test images say about models: figures over seeds, intervals, paired tests.

A hospital's test images depend on the seed, so they differ from seed to seed, and a lesion may be
in the test images of several seeds. BACC and ACC are of the counts summed over the seeds, so a
rare class counts with all its images and not with a mean of means. The sensitivity has a threshold
for each seed's model and sums what is found; AUROC and the calibration error are means over the
seeds, since each model has its own.

For intervals the hospital's lesions, those of all seeds together, are drawn with replacement within
each class, a lesion with all its images in all seeds (B. Efron, R. Tibshirani: An Introduction to
the Bootstrap, 1993, chapter 13). Without the classes many draws would lack a rare one, and BACC
would be a mean over fewer classes. A class of one or two lesions is drawn from these alone, so its
uncertainty is not in the interval. The models are given: how much another training would differ is
in the deviation over the seeds, not in the interval. What a model gains over another one is tested
by exchanging their answers, see `hospital_resampling.Resampling.gains`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.uncertainty import PERCENTILES

SCORES = ("bacc", "acc", "auroc", "ece", "sensitivity")
"""The figures, in percent; of ``ece`` the lowest is best."""


@dataclass(frozen=True)
class HospitalImages:
    """The test images of a hospital with one seed.

    Attributes:
        ids: (n,) unique.
        labels: (n,) true classes, in [0, K).
        units: (n,) names of their lesions, or of what else is drawn together.
        unit: what that is: ``lesion``, ``patient`` or ``image``.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    units: NDArray[np.str_]
    unit: str

    def same_as(self, other: "HospitalImages") -> bool:
        """Return whether these are the same images in the same order."""
        return self.ids == other.ids and np.array_equal(self.labels, other.labels)


@dataclass(frozen=True)
class Judged:
    """The answers of a model with each of S seeds, counted for 1 + R sets of images.

    The first set are the test images as they are, the others are bootstrap draws.

    Attributes:
        seeds: S of them.
        hits, support: (S, K, 1 + R) correctly classified images and all images of each class.
        found, positives: (S, 1 + R) images of the positive class: above the threshold, and all.
        ece: (S, 1 + R) calibration error in percent.
        auroc: (S, 1 + R) in percent; NaN where it is not defined.
        right: by seed (n,) whether each test image is correctly classified.
    """

    seeds: tuple[int, ...]
    hits: NDArray[np.float32]
    support: NDArray[np.float32]
    found: NDArray[np.float32]
    positives: NDArray[np.float32]
    ece: NDArray[np.float32]
    auroc: NDArray[np.float64]
    right: tuple[NDArray[np.bool_], ...]

    def figures(self, score: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return a score over some of the seeds (1 + R,), in percent; NaN where not defined.

        Args:
            score: one of ``SCORES``.
            seeds: at least one.
        """
        rows = [self.seeds.index(seed) for seed in seeds]
        if score == "ece":
            return self.ece[rows].mean(axis=0, dtype=np.float64)
        if score == "auroc":
            return mean_of_known(self.auroc[rows])
        if score == "sensitivity":
            return 100 * share(self.found[rows].sum(axis=0), self.positives[rows].sum(axis=0))
        hits, support = self.hits[rows].sum(axis=0), self.support[rows].sum(axis=0)
        if score == "acc":
            return 100 * share(hits.sum(axis=0), support.sum(axis=0))
        return 100 * mean_of_known(share(hits, support))


class PooledFigure(NamedTuple):
    """A figure over all seeds together, in percent.

    ``low`` and ``high`` are its 95 % interval, NaN if it is defined in no draw, and of the
    calibration error, which is larger in draws than in the images drawn from (each bin's error is a
    magnitude). ``deviation`` is the standard deviation over the seeds (n − 1), NaN with one.
    """

    value: float
    low: float
    high: float
    deviation: float


def estimate(judged: Judged, score: str) -> PooledFigure:
    """Return a model's figure over its seeds."""
    figures = judged.figures(score, judged.seeds)
    low, high = (np.nan, np.nan) if score == "ece" else interval(figures[1:])
    by_seed = [judged.figures(score, [seed])[0] for seed in judged.seeds]
    deviation = np.std(by_seed, ddof=1) if len(by_seed) > 1 else np.nan
    return PooledFigure(float(figures[0]), low, high, float(deviation))


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the draws that are defined; NaN if none is."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.percentile(known, PERCENTILES)
    return float(low), float(high)


def share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide; the result is NaN where the divisor is 0."""
    whole = whole.astype(np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    return share(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))
