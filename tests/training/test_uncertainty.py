"""Bootstrap intervals and the paired test, against numbers derived by hand and by brute force."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from training import uncertainty
from training.metrics import METRIC_NAMES, confusion_matrix, metrics
from training.uncertainty import intervals, paired_test

Answers = np.ndarray[Any, np.dtype[np.int64]]


def drawn(count: int, num_classes: int, right: float, seed: int) -> tuple[Answers, Answers]:
    """Labels, and answers of which about a share ``right`` is right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    guesses = rng.integers(0, num_classes, count)
    return labels, np.where(rng.random(count) < right, labels, guesses)


def brute_force(
    labels: Answers,
    judge: Callable[[Answers], dict[str, float | None]],
    groups: Answers | None = None,
    resamples: int = 4000,
) -> dict[str, list[float]]:
    """Draw images, or whole groups of them, one resample after another; percentiles by figure."""
    rng = np.random.default_rng(1)
    units = np.arange(len(labels)) if groups is None else groups
    rows_of = [np.flatnonzero(units == unit) for unit in np.unique(units)]
    figures: dict[str, list[float]] = {}
    for _ in range(resamples):
        chosen = rng.integers(0, len(rows_of), len(rows_of))
        for name, value in judge(np.concatenate([rows_of[unit] for unit in chosen])).items():
            figures.setdefault(name, []).append(value)
    return {name: np.percentile(values, [2.5, 97.5]).tolist() for name, values in figures.items()}


def test_the_interval_of_the_accuracy_is_the_binomials() -> None:
    """70 of 100 right: hits in a resample are binomial with n = 100, p = 0.7.

    Their quantiles 0.025 and 0.975 are 61 and 79; 40,000 resamples are off by a hit at most.
    """
    labels = np.zeros(100, dtype=np.int64)
    predicted = (np.arange(100) >= 70).astype(np.int64)
    low, high = binom.ppf([0.025, 0.975], 100, 0.7)
    assert (low, high) == (61, 79)
    found = intervals(labels, predicted, 2, seed=0, resamples=40_000)["acc"]
    assert found == pytest.approx([low, high], abs=1)


def test_intervals_are_those_of_drawing_images_one_by_one() -> None:
    """Over 200 images; a percentile of a spread of about 3 points is good to some tenths."""
    labels, predicted = drawn(200, 4, 0.7, seed=3)
    found = intervals(labels, predicted, 4, seed=0, resamples=4000)
    expected = brute_force(
        labels, lambda rows: metrics(confusion_matrix(labels[rows], predicted[rows], 4))
    )
    assert tuple(found) == METRIC_NAMES
    for name in METRIC_NAMES:
        assert found[name] == pytest.approx(expected[name], abs=0.8), name


def test_patients_are_drawn_whole() -> None:
    """Thirty patients with one to six images, right or wrong all together: far less evidence."""
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(30), rng.integers(1, 7, 30))
    labels = patients % 2
    predicted = np.where(rng.random(30)[patients] < 0.7, labels, 1 - labels)
    found = intervals(labels, predicted, 2, seed=0, resamples=4000, groups=patients)
    expected = brute_force(
        labels, lambda rows: metrics(confusion_matrix(labels[rows], predicted[rows], 2)), patients
    )
    for name in METRIC_NAMES:
        assert found[name] == pytest.approx(expected[name], abs=2.5), name
    by_image = intervals(labels, predicted, 2, seed=0)["acc"]
    assert np.diff(found["acc"]) > 1.4 * np.diff(by_image)


def test_groups_of_one_image_are_images() -> None:
    labels, predicted = drawn(60, 3, 0.6, seed=0)
    plain = intervals(labels, predicted, 3, seed=4)
    assert intervals(labels, predicted, 3, seed=4, groups=np.arange(60)[::-1]) == plain
    assert intervals(labels, predicted, 3, seed=4, groups=[f"p{n}" for n in range(60)]) == plain


def test_the_seed_decides_and_the_order_of_images_does_not() -> None:
    labels, predicted = drawn(80, 3, 0.6, seed=0)
    found = intervals(labels, predicted, 3, seed=4)
    assert intervals(labels[::-1], predicted[::-1], 3, seed=4) == found
    assert intervals(labels, predicted, 3, seed=5) != found


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by drawing piece by piece: here seven resamples at a time, or one."""
    labels, predicted = drawn(80, 3, 0.6, seed=0)
    patients = np.arange(80) // 4
    whole = intervals(labels, predicted, 3, seed=4, resamples=50, groups=patients)
    for block in (7 * 20, 1):
        monkeypatch.setattr(uncertainty, "_BLOCK", block)
        assert intervals(labels, predicted, 3, seed=4, resamples=50, groups=patients) == whole


@pytest.mark.parametrize("num_classes", [1, 3])
def test_where_all_is_right_nothing_is_unsure(num_classes: int) -> None:
    labels = np.arange(12) % num_classes
    found = intervals(labels, labels, num_classes, seed=0)
    assert found == {name: [100.0, 100.0] for name in METRIC_NAMES}


def test_where_all_is_wrong_neither() -> None:
    labels = np.zeros(5, dtype=np.int64)
    assert intervals(labels, labels + 1, 2, seed=0)["avg"] == [0.0, 0.0]


def test_without_images_there_is_nothing_to_say() -> None:
    none = np.empty(0, dtype=np.int64)
    assert intervals(none, none, 3, seed=0) == dict.fromkeys(METRIC_NAMES)
    assert paired_test(none, none, none, 3, seed=0) == {
        "only_first": 0,
        "only_second": 0,
        "p_value": 1.0,
        "difference": {"avg": None, "bacc": None},
    }


def test_mcnemars_p_value_by_hand() -> None:
    """Ten images: both right on 3, only the first on 1, only the second on 5, none on 1.

    Under heads and tails, at most 1 or at least 5 of 6 has the chance 2·(1 + 6)/2^6 = 7/32.
    """
    labels = np.zeros(10, dtype=np.int64)
    first = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    second = np.array([0, 0, 0, 1, 0, 0, 0, 0, 0, 1])
    found = paired_test(labels, first, second, 2, seed=0)
    assert (found["only_first"], found["only_second"]) == (1, 5)
    assert found["p_value"] == pytest.approx(7 / 32)
    swapped = paired_test(labels, second, first, 2, seed=0)
    assert (swapped["only_first"], swapped["only_second"]) == (5, 1)
    assert swapped["p_value"] == found["p_value"]
    # 4 of 10 and 8 of 10 of the one class that occurs.
    assert found["difference"]["bacc"][0] == pytest.approx(40)
    assert swapped["difference"]["bacc"][0] == pytest.approx(-40)


def test_equal_models_do_not_differ() -> None:
    labels, predicted = drawn(50, 3, 0.6, seed=0)
    assert paired_test(labels, predicted, predicted, 3, seed=0) == {
        "only_first": 0,
        "only_second": 0,
        "p_value": 1.0,
        "difference": {"avg": [0.0, 0.0, 0.0], "bacc": [0.0, 0.0, 0.0]},
    }


def test_models_wrong_in_different_ways_have_no_discordant_pairs() -> None:
    labels = np.array([0, 0, 1, 2])
    first, second = np.array([0, 1, 1, 1]), np.array([0, 2, 1, 0])
    found = paired_test(labels, first, second, 3, seed=0)
    assert (found["only_first"], found["only_second"], found["p_value"]) == (0, 0, 1.0)


@pytest.mark.parametrize("grouped", [False, True])
def test_differences_are_those_of_both_models_on_the_same_draws(grouped: bool) -> None:
    """Two models that are mostly wrong on the same images: apart they would look uncertain."""
    labels, first = drawn(150, 3, 0.6, seed=2)
    second = np.where(np.arange(150) % 10 == 0, labels, first)
    patients = np.arange(150) // 3 if grouped else None

    def judge(rows: Answers) -> dict[str, float | None]:
        one = metrics(confusion_matrix(labels[rows], first[rows], 3))
        other = metrics(confusion_matrix(labels[rows], second[rows], 3))
        return {name: other[name] - one[name] for name in ("avg", "bacc")}

    found = paired_test(labels, first, second, 3, seed=0, resamples=4000, groups=patients)
    expected = brute_force(labels, judge, patients)
    whole = judge(np.arange(150))
    for name, (point, low, high) in found["difference"].items():
        assert point == pytest.approx(whole[name])
        assert [low, high] == pytest.approx(expected[name], abs=0.5), name


@pytest.mark.parametrize(
    "predicted, message",
    [([0, 1], "predictions for"), ([0, 1, 2], "outside 0 to 1"), ([0, 1, -1], "outside 0 to 1")],
)
def test_answers_that_do_not_fit_are_an_error(predicted: list[int], message: str) -> None:
    labels = np.array([0, 1, 1])
    with pytest.raises(ValueError, match=message):
        intervals(labels, np.array(predicted), 2, seed=0)
