"""Every image is held out once, with its whole lesion, by training images of every class."""

import warnings

import numpy as np
import pytest

from models.heads import MOST_FOLDS, folds


def cut(labels: list[int], groups: list[str | None] | None = None, seed: int = 0):
    """The folds as sets, after checking what holds of all folds."""
    classes = np.array(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = folds(classes, groups, seed=seed)
    held_out = np.concatenate([rows for _, rows in parts])
    assert sorted(held_out) == list(range(len(labels)))
    for training, _ in parts:
        assert set(classes[training]) == set(labels)
    return [(set(training.tolist()), set(held_out.tolist())) for training, held_out in parts]


def test_classes_are_spread_evenly() -> None:
    """Ten images of class 0 and five of class 1: two and one in each of five folds."""
    labels = [0] * 10 + [1] * 5
    parts = cut(labels)
    assert len(parts) == MOST_FOLDS == 5
    for training, held_out in parts:
        assert sorted(labels[row] for row in held_out) == [0, 0, 1]
        assert training == set(range(15)) - held_out


def test_lesions_are_not_torn_apart() -> None:
    """Forty lesions of three images each; None is no lesion that images share."""
    labels = [number % 2 for number in range(40) for _ in range(3)] + [0, 1] * 5
    groups = [f"lesion {number}" for number in range(40) for _ in range(3)] + [None] * 10
    parts = cut(labels, groups)
    assert len(parts) == 5
    for training, held_out in parts:
        assert not training & held_out
        assert not {groups[row] for row in training} & {groups[row] for row in held_out} - {None}
    loose = [{row for row in held_out if row >= 120} for _, held_out in parts]
    assert max(map(len, loose)) < 10


def test_a_missing_lesion_may_be_nan() -> None:
    """pandas' word for it: were it one lesion, all ten images would be in one fold."""
    parts = folds(np.array([0, 1] * 5), [float("nan")] * 10, seed=0)  # type: ignore[list-item]
    assert [len(held_out) for _, held_out in parts] == [2] * 5


def test_the_seed_decides() -> None:
    labels = [0, 1] * 20
    assert cut(labels, seed=1) == cut(labels, seed=1)
    assert cut(labels, seed=1) != cut(labels, seed=2)


def test_a_class_of_one_image_is_trained_on_where_it_is_judged() -> None:
    """Image 10 is class 1's only one: the fold that holds it out still trains on it."""
    for training, held_out in cut([0] * 10 + [1]):
        assert 10 in training
        assert training & held_out <= {10}


def test_so_is_a_class_of_one_lesion() -> None:
    groups = [*(f"lesion {number}" for number in range(10)), "rare", "rare"]
    for training, held_out in cut([0] * 10 + [1, 1], groups):
        assert training & held_out in (set(), {10, 11})


@pytest.mark.parametrize(
    "labels, groups, number",
    [
        ([0, 0, 0, 1, 1, 1], None, 3),  # three images of a class
        ([0, 0, 0, 0, 0, 1, 1], ["a", "a", "b", "b", "b", "a", "b"], 2),  # two lesions
        ([0, 1], None, 1),  # an image of each: both are trained on and held out
        ([0, 0, 1, 1], ["a"] * 4, 1),  # a single lesion
    ],
)
def test_few_images_or_lesions_make_fewer_folds(labels, groups, number) -> None:
    assert len(cut(labels, groups)) == number
