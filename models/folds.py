"""Cross-validation folds that keep the images of one lesion together."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

MOST_FOLDS = 5

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def folds(
    labels: NDArray[np.int64], groups: Sequence[str | None] | None, *, seed: int
) -> list[Fold]:
    """Split images into five folds, each class spread evenly over them.

    There are fewer folds if no class has five images, or if there are fewer than five groups. If
    all images of a class are in one fold, they also stay in that fold's training part, so that
    every training part has every class: these images are then predicted by a model that has seen
    them.

    Args:
        labels: (n,) classes, n ≥ 1.
        groups: the images' lesions or patients, each kept in one fold; an image with None is its
            own group. None: every image is its own group.
        seed: of the assignment of images to folds, in [0, 2^32).

    Returns:
        (training rows, held-out rows) of each fold; every row is held out exactly once.
    """
    rows = np.arange(len(labels))
    units = None if groups is None else _number(groups)
    num_units = len(labels) if units is None else len(np.unique(units))
    number = min(MOST_FOLDS, int(np.bincount(labels).max()), num_units)
    if number < 2:
        return [(rows, rows)]
    splitter = (StratifiedKFold if units is None else StratifiedGroupKFold)(
        number, shuffle=True, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        dealt = [held_out for _, held_out in splitter.split(rows, labels, units)]
    return [(_training_rows(labels, held_out), held_out) for held_out in dealt if len(held_out)]


def _number(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Return a number for each image, equal within a group."""
    numbers: dict[str | int, int] = {}
    # A missing lesion may also be NaN in a table.
    keys = (group if isinstance(group, str) else row for row, group in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _training_rows(labels: NDArray[np.int64], held_out: NDArray[np.int64]) -> NDArray[np.int64]:
    others = np.ones(len(labels), dtype=bool)
    others[held_out] = False
    return np.flatnonzero(others | ~np.isin(labels, labels[others]))
