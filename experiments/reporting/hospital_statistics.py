"""What a hospital's test images say about models: figures over seeds, intervals, paired tests.

A hospital's test images depend on the seed, so they differ from seed to seed, and a lesion may be
in the test images of several seeds. A figure is the mean over the seeds of the figure on each
seed's test images. For its interval the hospital's lesions, those of all seeds together, are drawn
with replacement, a lesion with all its images in all seeds, and the mean is computed anew from each
draw (B. Efron, R. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13). All models are
drawn alike, so the differences of two models are paired. The models are given: how much another
training would differ is in the deviation over the seeds, not in the interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.histograms import CONFIDENCE_BINS
from training.uncertainty import PERCENTILES

RESAMPLES = 1000
"""Of the bootstrap. A report may have two thousand models and hospitals."""

FLIPS = 19_999
"""Of the randomization test; its smallest p-value is 1 / (FLIPS + 1)."""

SPECIFICITY = 0.9
"""At which a class's sensitivity is given."""

SCORES = ("bacc", "acc", "ece", "sensitivity")
"""The figures of `Resampling.judge`, in percent; of ``ece`` the lowest is best."""

# Sign flips at a time, which limits the memory.
_BLOCK = 1000


@dataclass(frozen=True)
class TestImages:
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

    def same_as(self, other: "TestImages") -> bool:
        """Return whether these are the same images in the same order."""
        return self.ids == other.ids and np.array_equal(self.labels, other.labels)


@dataclass(frozen=True)
class Judged:
    """The figures of a model with each of S seeds.

    Attributes:
        seeds: S of them.
        values: by score (S,), in percent; NaN where the score is not defined.
        draws: by score (S, R), the same of each bootstrap draw.
        right: (U,) by unit: the sum over the seeds and the unit's images of what each adds to BACC
            if it is classified correctly, by seed: (S, U).
    """

    seeds: tuple[int, ...]
    values: Mapping[str, NDArray[np.float64]]
    draws: Mapping[str, NDArray[np.float64]]
    right: NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure or a difference, in percent or percentage points.

    Attributes:
        value: mean over the seeds.
        low, high: its 95 % interval; NaN if it is defined in no draw.
        deviation: standard deviation over the seeds (n − 1); NaN with one.
        num_seeds: how many seeds.
    """

    value: float
    low: float
    high: float
    deviation: float
    num_seeds: int


class Resampling:
    """The bootstrap of a hospital's lesions, the same for all models."""

    def __init__(
        self,
        tests: Mapping[int, TestImages],
        num_classes: int,
        *,
        positive: int | None,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        """Draw.

        Args:
            tests: the test images of every seed; none is empty.
            num_classes: K.
            positive: the class whose sensitivity is given; None: none.
            resamples: R, how often lesions are drawn.
        """
        self._positive = positive
        self._num_classes = num_classes
        units = sorted({unit for images in tests.values() for unit in images.units.tolist()})
        number = {unit: index for index, unit in enumerate(units)}
        self.num_units = len(units)
        generator = np.random.default_rng(seed)
        drawn = generator.integers(0, len(units), (resamples, len(units)))
        drawn += np.arange(resamples)[:, None] * len(units)
        counts = np.bincount(drawn.ravel(), minlength=resamples * len(units))
        times = counts.reshape(resamples, len(units)).T.astype(np.float32)  # (U, R)
        self._tests = {
            seed: _SeedDraws(
                images.labels,
                np.array([number[unit] for unit in images.units.tolist()]),
                times,
                num_classes,
            )
            for seed, images in tests.items()
        }

    def judge(self, probabilities: Mapping[int, NDArray[np.float32]]) -> Judged:
        """Return a model's figures.

        Args:
            probabilities: (n, K) for the test images of one seed or more.
        """
        found = [
            self._tests[seed].figures(answers, self._positive)
            for seed, answers in probabilities.items()
        ]
        right = np.stack(
            [
                self._tests[seed].right_by_unit(answers, self.num_units)
                for seed, answers in probabilities.items()
            ]
        )
        together = {name: np.stack([each[name] for each in found]) for name in SCORES}
        return Judged(
            tuple(probabilities),
            {name: figures[:, 0] for name, figures in together.items()},
            {name: figures[:, 1:] for name, figures in together.items()},
            right,
        )


class _SeedDraws:
    """One seed's test images, as they are and in each draw."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        units: NDArray[np.int64],
        times: NDArray[np.float32],
        num_classes: int,
    ) -> None:
        self._labels, self._units = labels, units
        # (n, 1 + R): how often each image counts; once in the first column, which is no draw.
        self._times = np.concatenate([np.ones((len(labels), 1), np.float32), times[units]], axis=1)
        self._truth = (labels[:, None] == np.arange(num_classes)).astype(np.float32)
        self._of_class = self._truth.T @ self._times  # (K, 1 + R)
        self._num_images = self._of_class.sum(axis=0)

    def figures(
        self, probabilities: NDArray[np.float32], positive: int | None
    ) -> dict[str, NDArray[np.float64]]:
        """Return each score, (1 + R,): of the images as they are, then of each draw."""
        predicted = probabilities.argmax(axis=1)
        right = predicted == self._labels
        confidence = probabilities[np.arange(len(predicted)), predicted]
        bins = np.ceil(confidence.astype(np.float64) * CONFIDENCE_BINS).astype(np.int64) - 1
        places = bins.clip(0, CONFIDENCE_BINS - 1)[:, None] == np.arange(CONFIDENCE_BINS)
        apart = places * (right - confidence)[:, None].astype(np.float32)
        found = self._truth * right[:, None]
        sums = np.concatenate([found, apart], axis=1).T @ self._times
        hits, errors = np.split(sums.astype(np.float64), [self._truth.shape[1]])
        occurs = self._of_class > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            # No image at all is drawn only if a seed has very few lesions.
            recall = np.where(occurs, hits / np.where(occurs, self._of_class, 1), 0.0)
            bacc = recall.sum(axis=0) / occurs.sum(axis=0)
            acc = hits.sum(axis=0) / self._num_images
            ece = np.abs(errors).sum(axis=0) / self._num_images
        sensitivity = np.full(len(bacc), np.nan)
        if positive is not None:
            sensitivity = self._sensitivity(probabilities[:, positive], positive)
        return {
            "bacc": 100 * bacc,
            "acc": 100 * acc,
            "ece": 100 * ece,
            "sensitivity": 100 * sensitivity,
        }

    def _sensitivity(self, scores: NDArray[np.float32], positive: int) -> NDArray[np.float64]:
        """Return the share of the positive images above the threshold.

        The threshold is the lowest score of a negative image with which at least ``SPECIFICITY`` of
        the negative images are not above it; it is found anew in each draw.
        """
        negative = self._labels != positive
        # The highest score first. Of equal scores a negative one comes first, so positive images
        # that equal the threshold are not found.
        order = np.lexsort([~negative, -scores])
        negative = negative[order]
        passed = np.cumsum(negative)[~negative]  # negative images before each positive one
        positives = self._of_class[positive]
        negatives = self._num_images - positives
        # Counts are whole numbers, but a tenth of them may be rounded.
        most = (1 - SPECIFICITY) * negatives + 1e-3
        ranked = order[negative]
        # The highest third is nearly always enough, which is quicker.
        for number in (len(ranked) // 3, len(ranked)):
            above = np.cumsum(self._times[ranked[:number]], axis=0)
            if number and (above[-1] > most).all():
                break
        above = np.concatenate([np.zeros((1, len(most)), np.float32), above])
        may_pass = above[np.minimum(passed, number)] <= most
        found = (self._times[order[~negative]] * may_pass).sum(axis=0)
        defined = (positives > 0) & (negatives > 0)
        return np.where(defined, found / np.where(defined, positives, 1), np.nan).astype(np.float64)

    def right_by_unit(
        self, probabilities: NDArray[np.float32], num_units: int
    ) -> NDArray[np.float64]:
        """Return for each unit what its correctly classified images add to BACC, in percent."""
        support = np.bincount(self._labels)
        share = 100 / (np.count_nonzero(support) * support[self._labels])
        right = probabilities.argmax(axis=1) == self._labels
        return np.bincount(self._units, share * right, num_units)


def estimate(judged: Judged, score: str) -> Estimate:
    """Return a model's figure, mean over its seeds, of those in which it is defined."""
    return _estimate(judged.values[score], judged.draws[score])


def gain(judged: Judged, alone: Judged, score: str) -> Estimate | None:
    """Return a model's figure minus another's, over the seeds of both; None without any."""
    ours, theirs = _common(judged, alone)
    if not ours:
        return None
    return _estimate(
        judged.values[score][ours] - alone.values[score][theirs],
        judged.draws[score][ours] - alone.draws[score][theirs],
    )


def _common(first: Judged, second: Judged) -> tuple[list[int], list[int]]:
    both = [seed for seed in first.seeds if seed in second.seeds]
    return [first.seeds.index(seed) for seed in both], [second.seeds.index(seed) for seed in both]


def _estimate(values: NDArray[np.float64], draws: NDArray[np.float64]) -> Estimate:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Estimate(np.nan, np.nan, np.nan, np.nan, 0)
    means = _mean(draws)
    means = means[~np.isnan(means)]
    low, high = np.percentile(means, PERCENTILES) if len(means) else (np.nan, np.nan)
    deviation = float(defined.std(ddof=1)) if len(defined) > 1 else np.nan
    return Estimate(float(defined.mean()), float(low), float(high), deviation, len(defined))


def _mean(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the seeds (S, R) of what is defined, (R,)."""
    defined = ~np.isnan(draws)
    number = defined.sum(axis=0)
    total = np.where(defined, draws, 0.0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def randomization_test(
    pairs: Sequence[tuple[Judged, Judged]], *, flips: int = FLIPS, seed: int = 0
) -> list[float]:
    """Return the two-sided p-value of each pair's difference in BACC, mean over their common seeds.

    If two models are equally good, each lesion's answers could be the other model's as well. So the
    difference is computed again with the answers of a random half of the lesions exchanged, each
    lesion's in all seeds at once; p is the share of such differences that are as far from 0
    (E. Noreen: Computer-Intensive Methods for Testing Hypotheses, 1989). All pairs have the same
    exchanges.

    Args:
        pairs: of one `Resampling`. A pair without a common seed has p = 1.
        flips: how often lesions are exchanged.
    """
    if not pairs:
        return []
    columns = []
    for judged, alone in pairs:
        ours, theirs = _common(judged, alone)
        apart = judged.right[ours] - alone.right[theirs]
        columns.append(apart.mean(axis=0) if ours else np.zeros(judged.right.shape[1]))
    by_unit = np.stack(columns, axis=1)  # (U, P)
    by_unit = by_unit[np.any(by_unit != 0, axis=1)].astype(np.float32)
    observed = np.abs(by_unit.sum(axis=0))
    generator = np.random.default_rng(seed)
    beyond = np.zeros(len(pairs), dtype=np.int64)
    for start in range(0, flips, _BLOCK):
        size = (min(_BLOCK, flips - start), len(by_unit))
        signs = 2 * generator.integers(0, 2, size, dtype=np.int8) - 1
        flipped = np.abs(signs.astype(np.float32) @ by_unit)
        # float32 sums of the same numbers in another order are not exactly equal.
        beyond += (flipped >= observed - 1e-3).sum(axis=0)
    return [float(count + 1) / (flips + 1) for count in beyond]
