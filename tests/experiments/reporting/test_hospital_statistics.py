"""Figures, intervals and tests over a hospital's lesions, beside plain computations."""

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.reporting.hospital_resampling import Resampling
from experiments.reporting.hospital_statistics import HospitalImages, Judged, estimate
from training.metrics import confusion_matrix, metrics
from training.score_counts import Answers
from training.scores import score_block


def images(labels: list[int], units: list[str] | None = None) -> HospitalImages:
    names = units or [f"lesion {index}" for index in range(len(labels))]
    ids = tuple(map(str, range(len(labels))))
    return HospitalImages(ids, np.array(labels), np.array(names), "lesion")


def answering(predicted: list[int], num_classes: int = 2) -> NDArray[np.float32]:
    found = np.full((len(predicted), num_classes), 0.1, np.float32)
    found[np.arange(len(predicted)), predicted] = 0.9
    return found


def test_figures_are_of_the_counts_summed_over_the_seeds() -> None:
    generator = np.random.default_rng(0)
    tests = {seed: images(generator.integers(0, 3, 30).tolist()) for seed in (0, 1)}
    answers = {seed: generator.dirichlet(np.ones(3), 30).astype(np.float32) for seed in (0, 1)}
    judged = Resampling(tests, 3, positive=None, resamples=5).judge(answers)
    total = sum(
        confusion_matrix(tests[seed].labels, answers[seed].argmax(axis=1), 3) for seed in (0, 1)
    )
    expected = metrics(np.asarray(total))
    for score in ("bacc", "acc"):
        assert estimate(judged, score).value == pytest.approx(expected[score], abs=1e-4)
    blocks = [score_block(Answers(answers[s], tests[s].labels).counts()) for s in (0, 1)]
    for score in ("ece", "auroc"):
        mean = np.mean([block[score] for block in blocks])
        assert estimate(judged, score).value == pytest.approx(mean, abs=1e-4)


def test_sensitivity_at_a_specificity_by_hand() -> None:
    """Of ten negative images one may be above the threshold: it is the second highest, 0.8. Of the
    positive images 0.95 and 0.85 are above it; 0.8 equals it and 0.1 is below."""
    negative = [0.9, 0.8, 0.3, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0]
    positive = [0.95, 0.85, 0.8, 0.1]
    scores = np.array(negative + positive, np.float32)
    answers = np.stack([1 - scores, scores], axis=1)
    test = images([0] * 10 + [1] * 4)
    judged = Resampling({0: test}, 2, positive=1, resamples=5).judge({0: answers})
    assert estimate(judged, "sensitivity").value == 50


def judged_twice(units: list[str], seeds: tuple[int, ...]) -> Judged:
    labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    predicted = [0, 0, 0, 1, 1, 0, 1, 0, 0, 1]
    times = len(units) // len(labels)
    tests = {seed: images(labels * times, units) for seed in seeds}
    return Resampling(tests, 2, positive=None).judge(
        {seed: answering(predicted * times) for seed in seeds}
    )


def test_more_images_of_a_lesion_and_more_seeds_make_no_interval_narrower() -> None:
    """Each lesion's images are answered alike, so they tell nothing new."""
    lesions = [f"lesion {index}" for index in range(10)]
    once = estimate(judged_twice(lesions, (0,)), "bacc")
    thrice = estimate(judged_twice(lesions * 3, (0,)), "bacc")
    seeds = estimate(judged_twice(lesions, (0, 1, 2)), "bacc")
    assert once.low < once.value < once.high
    for other in (thrice, seeds):
        assert (other.value, other.low, other.high) == pytest.approx(
            (once.value, once.low, once.high)
        )
    assert np.isnan(once.deviation)
    assert seeds.deviation == pytest.approx(0, abs=1e-9)


def test_a_rare_class_is_in_every_draw() -> None:
    """Class 1 has one lesion, which is found: BACC is never below half."""
    test = images([0] * 9 + [1])
    judged = Resampling({0: test}, 2, positive=None).judge({0: answering([1] * 9 + [1])})
    assert (estimate(judged, "bacc").low, estimate(judged, "bacc").high) == (50, 50)


def test_a_gain_and_its_p_value() -> None:
    """Three lesions of one class are found by one model only. Of the 8 ways to exchange them, 2 are
    as far from 0 (all or none), so p is 1/4, and 95 % of exchanges reach no further than 3/4 · 100.
    """
    resampling = Resampling({0: images([0, 0, 0, 0])}, 2, positive=None)
    better, worse = (
        resampling.judge({0: answering(predicted)}) for predicted in ([0, 0, 0, 0], [1, 1, 1, 0])
    )
    [gain, none, loss] = resampling.gains([(better, worse), (better, better), (worse, better)])
    assert gain is not None
    assert none is not None
    assert loss is not None
    assert gain.value == -loss.value == 75
    assert gain.p_value == pytest.approx(0.25, abs=0.02)
    assert (gain.low, gain.high) == (0, 150)
    assert (none.value, none.low, none.high, none.p_value) == (0, 0, 0, 1)


def test_images_of_a_lesion_are_exchanged_together() -> None:
    """The three images are of one lesion, which says nothing about others."""
    resampling = Resampling({0: images([0, 0, 0], ["a", "a", "a"])}, 2, positive=None)
    better, worse = (resampling.judge({0: answering(p)}) for p in ([0, 0, 0], [1, 1, 1]))
    [gain] = resampling.gains([(better, worse)])
    assert gain is not None
    assert (gain.value, gain.p_value) == (100, 1)


def test_models_without_a_common_seed_are_not_compared() -> None:
    resampling = Resampling({0: images([0, 1]), 1: images([0, 1])}, 2, positive=None)
    first, second = (resampling.judge({seed: answering([0, 1])}) for seed in (0, 1))
    assert resampling.gains([(first, second)]) == [None]
