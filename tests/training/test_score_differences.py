"""Differences of every score, against drawing images one by one and numbers by hand."""

import numpy as np
import pytest

from training.score_counts import Answers
from training.score_differences import RepeatedAnswers, score_differences
from training.scores import SCORES, score_block

CLASSES = ("a", "b", "c")


def made(count: int, seed: int, sure: float = 1.0) -> Answers:
    """Answers for images of three classes in turn."""
    labels = np.arange(count) % 3
    scores = np.random.default_rng(seed).normal(size=(count, 3)) + sure * np.eye(3)[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Answers(probabilities.astype(np.float32), labels)


def rows_of(answers: Answers, rows: np.ndarray) -> Answers:
    return Answers(answers.probabilities[rows], answers.labels[rows])


def test_repeated_images_are_counted_as_if_they_stood_there_so_often() -> None:
    answers = made(40, seed=0)
    times = np.random.default_rng(1).integers(0, 4, 40)
    repeated = rows_of(answers, np.repeat(np.arange(40), times))
    found = score_block(RepeatedAnswers(answers).counts(times))
    expected = score_block(repeated.counts())
    for name in ("by_class", "confusion"):
        assert found.pop(name) == expected.pop(name)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_those_of_drawing_units_one_by_one(grouped: bool) -> None:
    """The ends of two intervals of 400 draws each differ by some of their width."""
    first, second = made(60, seed=2), made(60, seed=3, sure=1.5)
    groups = np.arange(60) // 3 if grouped else None
    found = score_differences([[first], [second]], CLASSES, groups=groups, resamples=400)
    rng = np.random.default_rng(9)
    units = [np.arange(60)[start : start + 3] for start in range(0, 60, 3)]
    units = units if grouped else [np.array([row]) for row in range(60)]
    drawn: dict[str, list[float]] = {"auroc": [], "acc": [], "ece": []}
    for _ in range(400):
        rows = np.concatenate([units[unit] for unit in rng.integers(0, len(units), len(units))])
        blocks = [score_block(rows_of(each, rows).counts()) for each in (first, second)]
        for name, values in drawn.items():
            values.append(blocks[1][name] - blocks[0][name])
    for name, values in drawn.items():
        difference = found.differences[0][name]
        assert difference is not None
        expected = np.percentile(values, [2.5, 97.5])
        spread = expected[1] - expected[0]
        assert [difference.low, difference.high] == pytest.approx(expected, abs=spread / 6), name


def test_every_score_and_each_class_is_compared() -> None:
    first, second = made(30, seed=0), made(30, seed=1)
    found = score_differences([[first], [second]], CLASSES, resamples=20)
    by_class = [f"{n}.{c}" for n, s in SCORES.items() if s.by_class for c in CLASSES]
    assert list(found.differences[0]) == [*SCORES, *by_class]
    blocks = [score_block(each.counts()) for each in (first, second)]
    for name in SCORES:
        difference = found.differences[0][name]
        assert difference is not None
        assert difference.value == pytest.approx(blocks[1][name] - blocks[0][name])
        scores = [side[name] for side in found.scores]
        assert scores == pytest.approx([block[name] for block in blocks])


def test_a_model_does_not_differ_from_itself_and_several_are_a_mean() -> None:
    """The mean of one and another, minus the one, is half their difference, in every draw."""
    one, other = made(30, seed=0), made(30, seed=1)
    found = score_differences([[one, one], [one, one], [one, other]], CLASSES, resamples=50)
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in found.differences[0].values() if d)
    alone = score_differences([[one], [other]], CLASSES, resamples=50).differences[0]
    for name, difference in found.differences[1].items():
        whole = alone[name]
        assert difference is not None
        assert whole is not None
        assert 2 * difference.value == pytest.approx(whole.value, abs=1e-9)
        assert difference.low == pytest.approx((whole.low or 0) / 2, abs=1e-9)


def test_what_is_not_defined_is_none() -> None:
    """A class without images has no AUROC; with one image there is none in the draws without it."""
    labels = np.array([0, 0, 0, 0, 0, 1])
    probabilities = np.full((6, 3), 1 / 3, dtype=np.float32)
    answers = Answers(probabilities, labels)
    found = score_differences([[answers], [answers]], CLASSES, resamples=40)
    assert found.scores[0]["auroc.c"] is None
    assert found.differences[0]["auroc.c"] is None
    known = found.differences[0]["auroc.b"]
    assert known is not None
    assert (known.value, known.low, known.high) == (0, 0, 0)
