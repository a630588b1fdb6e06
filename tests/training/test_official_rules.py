"""The official rules by hand; that the official scorer counts so is a slow test of its own."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

from experiments.challenge import LEFT_OUT, official_confusion
from training.metrics import Confusion, confusion_matrix, metrics


def count(
    labels: list[int], probabilities: ArrayLike, image_ids: list[str] | None = None
) -> Confusion:
    return official_confusion(
        image_ids or [f"ISIC_{number}" for number in range(len(labels))],
        np.array(labels, dtype=np.int64),
        np.array(probabilities, dtype=np.float32).reshape(len(labels), 3),
    )


def test_tied_maxima_are_wrong() -> None:
    """Four images: right, wrong, and of the two tied both are wrong, though a tied class is true.

    By class the hits are 1 of 2, 0 of 1 and 0 of 1: accuracy 1/4, balanced (1/2 + 0 + 0)/3.
    """
    found = count(
        [0, 0, 1, 2], [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.5, 0.3, 0.2], [0.2, 0.4, 0.4]]
    )
    assert found.tolist() == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    figures = metrics(found)
    assert figures["acc"] == 25.0
    assert figures["bacc"] == pytest.approx(100 * (1 / 2) / 3, rel=1e-15)


def test_a_tie_below_the_maximum_is_none() -> None:
    assert count([1], [[0.25, 0.5, 0.25]]).tolist() == [[0] * 4, [0, 1, 0, 0], [0] * 4, [0] * 4]


def test_neighbouring_numbers_are_no_tie() -> None:
    half = np.float32(0.5)
    assert count([1], [half, np.nextafter(half, np.float32(1)), 0.0])[1, 1] == 1


def test_whoever_never_decides_has_nothing_right() -> None:
    figures = metrics(count([0, 1, 2], np.full((3, 3), 1 / 3)))
    assert set(figures.values()) == {0.0}


def test_one_image_is_left_out_right_wrong_or_tied() -> None:
    sure, tied = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]
    for answer in (sure, sure[::-1], tied):
        found = count([0, 0], [sure, answer], ["ISIC_0034524", LEFT_OUT])
        assert found.sum() == found[0, 0] == 1


def test_without_ties_the_figures_are_the_plain_ones() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, 50), rng.random((50, 3))
    plain = confusion_matrix(labels, probabilities.argmax(axis=1), 3)
    found = count(labels.tolist(), probabilities)
    assert found[:3, :3].tolist() == plain.tolist()
    assert metrics(found) == metrics(plain)


def test_nobody_asked() -> None:
    assert count([], []).tolist() == [[0] * 4] * 4
