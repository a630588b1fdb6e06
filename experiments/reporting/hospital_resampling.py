"""The bootstrap of a hospital's lesions, and the exchanges of two models' answers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.reporting.hospital_draws import SeedDraws, draw
from experiments.reporting.hospital_statistics import HospitalImages, Judged

RESAMPLES = 1000
"""Of the bootstrap. A report may have two thousand models and hospitals."""

FLIPS = 19_999
"""Of the randomization test; its smallest p-value is 1 / (FLIPS + 1), so that in a report of 1,000
gains or more Holm's correction leaves none significant."""

# Sign flips at a time, which limits the memory.
_BLOCK = 1000


class Gain(NamedTuple):
    """A difference in BACC of two models over their common seeds, in percentage points.

    ``before`` is the second model's BACC over these seeds, in percent; ``value`` the first's minus
    that, ``low`` and ``high`` its 95 % interval, and ``p_value`` is two-sided.
    """

    before: float
    value: float
    low: float
    high: float
    p_value: float


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
        times = draw(strata, resamples, np.random.default_rng(seed))
        self._tests = {
            seed: SeedDraws(
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
        draws = [(self._tests[seed], answers) for seed, answers in probabilities.items()]
        hits, ece = zip(*(of.count(answers) for of, answers in draws), strict=True)
        return Judged(
            seeds=tuple(probabilities),
            hits=np.stack(hits),
            support=np.stack([of.support for of, _ in draws]),
            found=np.stack([of.found(answers, self._positive) for of, answers in draws]),
            positives=np.stack([of.positives(self._positive) for of, _ in draws]),
            ece=np.stack(ece),
            auroc=np.stack([of.auroc(answers) for of, answers in draws]),
            right=tuple(of.right(answers) for of, answers in draws),
        )

    def gains(self, pairs: Sequence[tuple[Judged, Judged]]) -> list[Gain | None]:
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
        """
        if not pairs:
            return []
        by_unit = np.stack([self._differences(*pair) for pair in pairs], axis=1)  # (U, P)
        values = by_unit.sum(axis=0)
        changed = by_unit[np.any(by_unit != 0, axis=1)].astype(np.float32)
        generator = np.random.default_rng(0)
        flipped = np.empty((FLIPS, len(pairs)), dtype=np.float32)
        for start in range(0, FLIPS, _BLOCK):
            size = (min(_BLOCK, FLIPS - start), len(changed))
            signs = 2 * generator.integers(0, 2, size, dtype=np.int8) - 1
            flipped[start : start + _BLOCK] = np.abs(signs.astype(np.float32) @ changed)
        # float32 sums of the same numbers in another order are not exactly equal.
        beyond = (flipped >= np.abs(values) - 1e-3).sum(axis=0)
        reach = np.percentile(flipped, 95, axis=0)
        return [
            Gain(
                before=float(second.figures("bacc", seeds)[0]),
                value=float(value),
                low=float(value - far),
                high=float(value + far),
                p_value=float(count + 1) / (FLIPS + 1),
            )
            if (seeds := _common_seeds(first, second))
            else None
            for (first, second), value, far, count in zip(pairs, values, reach, beyond, strict=True)
        ]

    def _differences(self, first: Judged, second: Judged) -> NDArray[np.float64]:
        """Return what each unit adds to the difference in BACC (U,), in percentage points."""
        total = np.zeros(self.num_units)
        seeds = _common_seeds(first, second)
        if not seeds:
            return total
        support = np.sum([self._tests[seed].support[:, 0] for seed in seeds], axis=0)
        share = 100 / (np.count_nonzero(support) * np.maximum(support, 1))
        for seed in seeds:
            ours, theirs = (of.right[of.seeds.index(seed)] for of in (first, second))
            apart = ours.astype(np.float64) - theirs
            total += self._tests[seed].by_unit(apart, share, self.num_units)
        return total


def _common_seeds(first: Judged, second: Judged) -> list[int]:
    return [seed for seed in first.seeds if seed in second.seeds]
