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
    """Cut images into five folds, each class spread evenly over them.

    There are fewer folds where no class has five images, or where there are fewer than five
    groups. A class that lies in a single fold is trained on there nonetheless, so that every
    training part holds every class: its images are then judged by a model that has seen them.

    Args:
        labels: (n,) classes, n ≥ 1.
        groups: the images' lesions or patients, kept in one fold each; an image with None is a
            group of its own. None: every image is.
        seed: of the order in which images are dealt out, in [0, 2^32).

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
    """A number for each image, equal within a group."""
    numbers: dict[str | int, int] = {}
    # A table may hold a missing lesion as NaN, too.
    keys = (group if isinstance(group, str) else row for row, group in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _training_rows(labels: NDArray[np.int64], held_out: NDArray[np.int64]) -> NDArray[np.int64]:
    others = np.ones(len(labels), dtype=bool)
    others[held_out] = False
    return np.flatnonzero(others | ~np.isin(labels, labels[others]))
