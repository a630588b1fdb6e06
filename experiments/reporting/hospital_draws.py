"""One seed's test images of a hospital, counted as they are and in each bootstrap draw."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from experiments.reporting.hospital_statistics import mean_of_known, share
from strategies.histograms import CONFIDENCE_BINS, confidence_bins

SPECIFICITY = 0.9
"""At which a class's sensitivity is given."""


def draw(
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


class SeedDraws:
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
        bins = confidence_bins(confidence.astype(np.float64))
        places = bins[:, None] == np.arange(CONFIDENCE_BINS)
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
        """Return how many images of a class are above the threshold (1 + R,); without other images
        there is none, and NaN.

        The threshold is the lowest probability of another class's image with which at least
        ``SPECIFICITY`` of such images are not above it; it is found anew in each draw.
        """
        if positive is None:
            return np.zeros_like(self.support[0])
        scores, negative = probabilities[:, positive], self._labels != positive
        if not negative.any():
            return np.full_like(self.support[0], np.nan)
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

    def auroc(self, probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the area under the ROC curve (1 + R,) in percent, the mean over the classes.

        It is as `training.scores` has it: each class against the others, with equal probabilities
        as half; classes that a draw lacks, or has alone, do not count. NaN if no class counts.
        """
        classes = zip(probabilities.T, self._truth.T > 0, strict=True)
        return 100 * mean_of_known(np.stack([self._auroc(*of_class) for of_class in classes]))

    def _auroc(
        self, scores: NDArray[np.float32], positive: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        order = np.argsort(scores)
        found, others = order[positive[order]], order[~positive[order]]
        values, first = np.unique(scores[found], return_index=True)
        # Of the others, those below each value that positive images have, and those up to it.
        sides = [np.searchsorted(scores[others], values, side) for side in ("left", "right")]
        passed = self._sums(others, [0, *np.stack(sides, axis=1).ravel()]).cumsum(axis=0)
        images = self._sums(found, [*first, len(found)])
        twice = (images * (passed[::2] + passed[1::2])).sum(axis=0, dtype=np.float64)
        positives = images.sum(axis=0, dtype=np.float64)
        return share(twice / 2, positives * (self._times.sum(axis=0) - positives))

    def _sums(self, places: NDArray[np.int64], ends: Sequence[int]) -> NDArray[np.float32]:
        """Return how often the images between each two ends of a list of places count."""
        ones = np.ones(ends[-1], np.float32)
        shape = (len(ends) - 1, len(self._labels))
        sums: NDArray[np.float32] = csr_array((ones, places[: ends[-1]], ends), shape) @ self._times
        return sums

    def by_unit(
        self, values: NDArray[np.float64], shares: NDArray[np.float64], num_units: int
    ) -> NDArray[np.float64]:
        """Return the sum over each unit's images of a value (n,) by the share (K,) of its class."""
        weighted = values * shares[self._labels]
        return np.bincount(self._units, weighted, num_units).astype(np.float64)
