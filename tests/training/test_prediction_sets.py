"""Conformal prediction: coverage of exchangeable images, by hand and in its binomial band."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.histograms import BINS, EDGES
from training.prediction_sets import (
    fewest_images,
    figures_of_answers,
    figures_of_counts,
    in_sets,
    threshold_of,
)
from training.score_counts import Answers, Histograms

CLASSES = 3


def answers(images: int, seed: int) -> Answers:
    """A network that is right more often in class 0 than in class 2, which is rare."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, size=images, p=[0.5, 0.3, 0.2])
    strength = np.array([9.0, 3.0, 1.5])[labels]
    chances = np.ones((images, CLASSES))
    chances[np.arange(images), labels] += strength
    drawn = rng.gamma(chances)
    return Answers((drawn / drawn.sum(axis=1, keepdims=True)).astype(np.float32), labels)


def histograms(given: Answers) -> Histograms:
    found = given.counts(exact=False).histograms
    assert found is not None
    return found


def positives(given: Answers) -> NDArray[np.int64]:
    """Counts (K, B) of the images by the probability of their true class."""
    return np.stack([counts[1] for counts in histograms(given).of_class])


@pytest.mark.parametrize(
    "coverage, expected", [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.7, 3)]
)
def test_the_fewest_images(coverage: float, expected: int) -> None:
    """⌈(n + 1) c⌉ ≤ n, so n ≥ c/(1 − c), without the rounding errors of 0.9/(1 − 0.9)."""
    assert fewest_images(coverage) == expected
    counts = np.zeros(BINS, dtype=np.int64)
    counts[500] = expected - 1
    assert threshold_of(counts, coverage) == 0.0
    counts[500] = expected
    assert threshold_of(counts, coverage) == EDGES[499]


def test_the_threshold_by_hand() -> None:
    """Ten images; ⌈11 · 0.8⌉ = 9, so the second smallest probability, down to its bin's edge."""
    of_truth = np.array([0.05, 0.3003, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95])
    given = Answers(np.stack([of_truth, 1 - of_truth], axis=1), np.zeros(10, dtype=np.int64))
    found = threshold_of(positives(given)[0], 0.8)
    assert found == math.floor(0.3003 * 1024) / 1024


def test_counts_give_the_figures_of_the_predictions() -> None:
    """Thresholds are edges of bins, so nothing is lost; also 0, which every class reaches."""
    given = answers(500, seed=1)
    for thresholds in ([0.0, EDGES[3], EDGES[700]], [0.25] * 3, [0.0] * 3, [EDGES[-1]] * 3):
        exact = figures_of_answers(given, thresholds)
        counted = figures_of_counts(histograms(given), thresholds)
        assert counted == {key: exact[key] for key in counted}
    assert figures_of_answers(given, [0.0] * 3)["size"] == 3.0
    assert figures_of_answers(given, [0.0] * 3)["coverage_by_class"] == [100.0] * 3


def test_figures_by_hand() -> None:
    """Sets {0, 1}, {} and {2} of images of the classes 0, 0 and 1."""
    probabilities = np.array([[0.5, 0.5, 0.0], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
    found = figures_of_answers(Answers(probabilities, np.array([0, 0, 1])), [0.5, 0.5, 0.75])
    assert found == {
        "coverage": pytest.approx(100 / 3),
        "size": 1.0,
        "coverage_by_class": [50.0, 0.0, None],
        "size_by_class": [1.0, 1.0, None],
        "empty": pytest.approx(100 / 3),
    }
    none = Answers(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    assert figures_of_answers(none, [0.5] * 3)["coverage"] is None
    assert figures_of_counts(histograms(none), [0.5] * 3)["size"] is None


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_coverage_is_what_was_asked_for(coverage: float) -> None:
    """200 splits of exchangeable images into 200 for calibration and 300 for testing.

    Without ties a split's coverage is in expectation ⌈(n + 1) c⌉/(n + 1), of which binning and ties
    give at most the images of one bin more. The number of covered ones of m tested images is
    beta-binomial, with the parameters a = ⌈(n + 1) c⌉ and b = n + 1 − a: its variance is
    m p (1 − p) (n + 1 + m)/(n + 2), p = a/(n + 1). The mean over 200 splits must be within four of
    its standard deviations of the least and the most that are expected.
    """
    whole, splits, calibration = answers(500, seed=2), 200, 200
    rng = np.random.default_rng(3)
    marginal, by_class = [], []
    excess = np.zeros((2, CLASSES))
    least = np.zeros((2, CLASSES))
    variance = np.zeros((2, CLASSES))
    for _ in range(splits):
        order = rng.permutation(len(whole.labels))
        parts = [order[:calibration], order[calibration:]]
        ours, others = (Answers(whole.probabilities[p], whole.labels[p]) for p in parts)
        counts = positives(ours)
        thresholds = [threshold_of(of_class, coverage) for of_class in counts]
        marginal.append(
            figures_of_counts(
                histograms(others), [threshold_of(counts.sum(axis=0), coverage)] * CLASSES
            )["coverage"]
        )
        by_class.append(figures_of_counts(histograms(others), thresholds)["coverage_by_class"])
        tested = np.bincount(others.labels, minlength=CLASSES)
        for row, (n, m) in enumerate(
            [
                (np.full(CLASSES, calibration), np.full(CLASSES, len(others.labels))),
                (counts.sum(axis=1), tested),
            ]
        ):
            a = np.ceil(np.round((n + 1) * coverage, 9))
            p = a / (n + 1)
            least[row] += p / splits
            # A bin of 1/1024 of these smooth scores holds less than 1 % of a class's images.
            excess[row] += (p + 1 / (n + 1) + 0.01) / splits
            variance[row] += p * (1 - p) * (n + 1 + m) / ((n + 2) * m) / splits**2
    deviation = np.sqrt(variance)
    found = np.array([[np.mean(marginal)] * CLASSES, np.mean(by_class, axis=0)]) / 100
    assert (found > least - 4 * deviation).all()
    assert (found < excess + 4 * deviation).all()


def test_a_probability_on_the_threshold_is_in_the_set() -> None:
    assert in_sets(np.array([[0.25, 0.75]]), [0.25, 0.7500001]).tolist() == [[True, False]]
