"""What a hospital's test images say about models: figures over seeds, intervals, paired tests.

A hospital's test images depend on the seed, so they differ from seed to seed, and a lesion may be
in the test images of several seeds. BACC and ACC are of the counts summed over the seeds, so a
rare class counts with all its images and not with a mean of means. The sensitivity has a threshold
for each seed's model and sums what is found; the calibration error is the mean over the seeds,
since each model has its own.

For intervals the hospital's lesions, those of all seeds together, are drawn with replacement within
each class, a lesion with all its images in all seeds (B. Efron, R. Tibshirani: An Introduction to
the Bootstrap, 1993, chapter 13). Without the classes many draws would lack a rare one, and BACC
would be a mean over fewer classes. A class of one or two lesions is drawn from these alone, so its
uncertainty is not in the interval. The models are given: how much another training would differ is
in the deviation over the seeds, not in the interval. What a model gains over another one is tested
by exchanging their answers, see `Resampling.gains`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
"""The figures, in percent; of ``ece`` the lowest is best."""

# Sign flips at a time, which limits the memory.
_BLOCK = 1000


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
        right: by seed (n,) whether each test image is correctly classified.
    """

    seeds: tuple[int, ...]
    hits: NDArray[np.float32]
    support: NDArray[np.float32]
    found: NDArray[np.float32]
    positives: NDArray[np.float32]
    ece: NDArray[np.float32]
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
        if score == "sensitivity":
            return 100 * _share(self.found[rows].sum(axis=0), self.positives[rows].sum(axis=0))
        hits, support = self.hits[rows].sum(axis=0), self.support[rows].sum(axis=0)
        if score == "acc":
            return 100 * _share(hits.sum(axis=0), support.sum(axis=0))
        recall = _share(hits, support)
        occurs = ~np.isnan(recall)
        return 100 * _share(np.where(occurs, recall, 0).sum(axis=0), occurs.sum(axis=0))


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide; the result is NaN where the divisor is 0."""
    whole = whole.astype(np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


@dataclass(frozen=True)
class Estimate:
    """A figure, in percent.

    Attributes:
        value: of all seeds together.
        low, high: its 95 % interval; NaN if it is defined in no draw.
        deviation: standard deviation over the seeds (n − 1); NaN with one.
        num_seeds: how many seeds.
    """

    value: float
    low: float
    high: float
    deviation: float
    num_seeds: int


@dataclass(frozen=True)
class Gain:
    """A difference in BACC of two models over their common seeds, in percentage points.

    Attributes:
        value: the first model's minus the second's.
        before: the second's BACC over these seeds, in percent.
        low, high: its 95 % interval.
        p_value: two-sided.
        num_seeds: how many seeds.
    """

    value: float
    before: float
    low: float
    high: float
    p_value: float
    num_seeds: int


class Resampling:
    """The bootstrap and the exchanges of a hospital's lesions, the same for all models."""

    def __init__(
        self,
        tests: Mapping[int, HospitalImages],
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
        classes = {
            unit: label
            for images in tests.values()
            for unit, label in zip(images.units.tolist(), images.labels.tolist(), strict=True)
        }
        number = {unit: index for index, unit in enumerate(sorted(classes))}
        self.num_units = len(number)
        strata = np.array([classes[unit] for unit in number])
        times = _draw(strata, resamples, np.random.default_rng(seed))
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
        """Count a model's answers.

        Args:
            probabilities: (n, K) for the test images of one seed or more.
        """
        draws = [self._tests[seed] for seed in probabilities]
        answers = list(probabilities.values())
        counted = [of.count(each) for of, each in zip(draws, answers, strict=True)]
        found = [of.found(each, self._positive) for of, each in zip(draws, answers, strict=True)]
        return Judged(
            seeds=tuple(probabilities),
            hits=np.stack([hits for hits, _ in counted]),
            support=np.stack([of.support for of in draws]),
            found=np.stack(found),
            positives=np.stack([of.positives(self._positive) for of in draws]),
            ece=np.stack([ece for _, ece in counted]),
            right=tuple(of.right(each) for of, each in zip(draws, answers, strict=True)),
        )

    def gains(
        self, pairs: Sequence[tuple[Judged, Judged]], *, flips: int = FLIPS, seed: int = 0
    ) -> list[Gain | None]:
        """Return by how much the first model of each pair is better in BACC, and how sure that is.

        If two models are equally good, each lesion's answers could be the other model's as well. So
        the difference is computed again with the answers of a random half of the lesions exchanged,
        each lesion's in all seeds at once; p is the share of such differences that are as far from
        0 (E. Noreen: Computer-Intensive Methods for Testing Hypotheses, 1989). The interval reaches
        as far to both sides as 95 % of such differences are from 0. So it excludes 0 where p is
        below 0.05, and is wide where a difference rests on few lesions, which a bootstrap is not.
        All pairs have the same exchanges.

        Args:
            pairs: None is returned for a pair without a common seed.
            flips: how often lesions are exchanged.
        """
        if not pairs:
            return []
        by_unit = np.stack([self._differences(*pair) for pair in pairs], axis=1)  # (U, P)
        values = by_unit.sum(axis=0)
        changed = by_unit[np.any(by_unit != 0, axis=1)].astype(np.float32)
        generator = np.random.default_rng(seed)
        flipped = np.empty((flips, len(pairs)), dtype=np.float32)
        for start in range(0, flips, _BLOCK):
            size = (min(_BLOCK, flips - start), len(changed))
            signs = 2 * generator.integers(0, 2, size, dtype=np.int8) - 1
            flipped[start : start + _BLOCK] = np.abs(signs.astype(np.float32) @ changed)
        # float32 sums of the same numbers in another order are not exactly equal.
        beyond = (flipped >= np.abs(values) - 1e-3).sum(axis=0)
        reach = np.percentile(flipped, 95, axis=0)
        return [
            Gain(
                value=float(value),
                before=float(pair[1].figures("bacc", common_seeds(*pair))[0]),
                low=float(value - far),
                high=float(value + far),
                p_value=float(count + 1) / (flips + 1),
                num_seeds=len(common_seeds(*pair)),
            )
            if common_seeds(*pair)
            else None
            for pair, value, far, count in zip(pairs, values, reach, beyond, strict=True)
        ]

    def _differences(self, first: Judged, second: Judged) -> NDArray[np.float64]:
        """Return what each unit adds to the difference in BACC (U,), in percentage points."""
        total = np.zeros(self.num_units)
        seeds = common_seeds(first, second)
        if not seeds:
            return total
        support = np.sum([self._tests[seed].support[:, 0] for seed in seeds], axis=0)
        share = 100 / (np.count_nonzero(support) * np.maximum(support, 1))
        for seed in seeds:
            ours, theirs = (of.right[of.seeds.index(seed)] for of in (first, second))
            apart = ours.astype(np.float64) - theirs
            total += self._tests[seed].by_unit(apart, share, self.num_units)
        return total


def _draw(
    strata: NDArray[np.int64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return how often each of U units is drawn (U, R), if within each stratum n of n are drawn."""
    times = np.zeros((len(strata), resamples), dtype=np.float32)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        drawn = generator.integers(0, len(members), (resamples, len(members)))
        drawn += np.arange(resamples)[:, None] * len(members)
        counts = np.bincount(drawn.ravel(), minlength=resamples * len(members))
        times[members] = counts.reshape(resamples, len(members)).T
    return times


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
        self.support: NDArray[np.float32] = self._truth.T @ self._times  # (K, 1 + R)

    def right(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each image is correctly classified, (n,)."""
        return probabilities.argmax(axis=1) == self._labels

    def count(
        self, probabilities: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the hits of each class (K, 1 + R), and the calibration error in percent."""
        right, confidence = self.right(probabilities), probabilities.max(axis=1)
        bins = np.ceil(confidence.astype(np.float64) * CONFIDENCE_BINS).astype(np.int64) - 1
        places = bins.clip(0, CONFIDENCE_BINS - 1)[:, None] == np.arange(CONFIDENCE_BINS)
        apart = places * (right - confidence)[:, None].astype(np.float32)
        sums = np.concatenate([self._truth * right[:, None], apart], axis=1).T @ self._times
        hits, errors = sums[: self._truth.shape[1]], sums[self._truth.shape[1] :]
        # A draw has no image of this seed only if there are very few.
        images = np.maximum(self.support.sum(axis=0), 1)
        return hits, 100 * np.abs(errors).sum(axis=0) / images

    def positives(self, positive: int | None) -> NDArray[np.float32]:
        """Return the number of images of a class (1 + R,); 0 without one."""
        return np.zeros_like(self.support[0]) if positive is None else self.support[positive]

    def found(
        self, probabilities: NDArray[np.float32], positive: int | None
    ) -> NDArray[np.float32]:
        """Return how many images of a class are above the threshold (1 + R,).

        The threshold is the lowest probability of another class's image with which at least
        ``SPECIFICITY`` of such images are not above it; it is found anew in each draw.
        """
        if positive is None:
            return np.zeros_like(self.support[0])
        scores, negative = probabilities[:, positive], self._labels != positive
        # The highest score first. Of equal scores a negative one comes first, so positive images
        # that equal the threshold are not found.
        order = np.lexsort([~negative, -scores])
        negative = negative[order]
        passed = np.cumsum(negative)[~negative]  # negative images before each positive one
        # Counts are whole numbers, but a tenth of them may be rounded.
        most = (1 - SPECIFICITY) * (self.support.sum(axis=0) - self.support[positive]) + 1e-3
        ranked = order[negative]
        # The highest third is nearly always enough, which is quicker.
        for number in (len(ranked) // 3, len(ranked)):
            above = np.cumsum(self._times[ranked[:number]], axis=0)
            if number and (above[-1] > most).all():
                break
        above = np.concatenate([np.zeros((1, len(most)), np.float32), above])
        may_pass = above[np.minimum(passed, number)] <= most
        found: NDArray[np.float32] = (self._times[order[~negative]] * may_pass).sum(axis=0)
        return found

    def by_unit(
        self, values: NDArray[np.float64], share: NDArray[np.float64], num_units: int
    ) -> NDArray[np.float64]:
        """Return the sum over each unit's images of a value (n,) by the share (K,) of its class."""
        weighted = values * share[self._labels]
        return np.bincount(self._units, weighted, num_units).astype(np.float64)


def common_seeds(first: Judged, second: Judged) -> list[int]:
    """Return the seeds of both."""
    return [seed for seed in first.seeds if seed in second.seeds]


def estimate(judged: Judged, score: str) -> Estimate:
    """Return a model's figure over its seeds."""
    return _estimate(
        judged.figures(score, judged.seeds),
        [float(judged.figures(score, [seed])[0]) for seed in judged.seeds],
    )


def _estimate(figures: NDArray[np.float64], by_seed: Sequence[float]) -> Estimate:
    draws = figures[1:][~np.isnan(figures[1:])]
    low, high = np.percentile(draws, PERCENTILES) if len(draws) else (np.nan, np.nan)
    deviation = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else np.nan
    return Estimate(float(figures[0]), float(low), float(high), deviation, len(by_seed))
