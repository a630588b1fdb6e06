"""Splits images into training, validation and test.

A unit is one image or, with ``split_by="lesion"``, all images of one lesion (BraTS2019: all slices
of one patient). All images of a unit are in the same split, so with ``lesion`` no lesion is in both
training and test. Lesions that share identical pixels count as one, see ``together``. docs/study.md
says how the study split.
"""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from data_partition.errors import DataError

SplitBy = Literal["image", "lesion"]

SPLITS = ("train", "validation", "test")

# These numbers separate the random streams of one seed; the others are in partition.py.
_CLIENT_STREAM = 1
_RELEASE_STREAM = 4
_PATIENT_STREAM = 5
_REST_STREAM = 6


def together(rows: pd.DataFrame) -> list[Hashable]:
    """Return for each image the name of its group: the images that must stay in one split.

    Args:
        rows: columns ``image_id`` and ``lesion_id`` (str or None), and optionally ``pixels_sha256``
            (str or None), where equal hashes mean identical pixels, and ``look`` (str or None),
            where equal names mean images that look alike.

    Returns:
        Equal names for images of one lesion, and of lesions that share identical pixels or looks;
        None for an image of unknown lesion without copies. If no lesions share pixels or looks, the
        names are the lesions.
    """
    groups: list[Hashable] = [
        lesion if isinstance(lesion, str) else None for lesion in rows["lesion_id"]
    ]
    for column, kind in (("pixels_sha256", "pixels"), ("look", "look")):
        if column in rows and rows[column].dropna().duplicated().any():
            groups = _joined(groups, rows[column], kind)
    return groups


def _joined(groups: Sequence[Hashable], marks: pd.Series, kind: str) -> list[Hashable]:
    """Join the groups of images with equal marks."""
    # Union-find over groups and marks: each image joins its group and its mark.
    above: dict[Hashable, Hashable] = {}

    def top(node: Hashable) -> Hashable:
        while node in above:
            up = above[node]
            above[node] = above.get(up, up)  # half the way for the next one
            node = above[node]
        return node

    names: list[Hashable] = []
    for group, mark, shared in zip(groups, marks, marks.duplicated(keep=False), strict=True):
        marked = (kind, mark) if shared and isinstance(mark, str) else None
        names.append(marked if group is None else group)
        if group is not None and marked is not None and top(group) != top(marked):
            above[top(marked)] = top(group)
    return [None if name is None else top(name) for name in names]


def split_client(
    image_ids: Sequence[str],
    groups: Sequence[Hashable],
    *,
    seed: int,
    client_index: int,
    split_by: SplitBy,
) -> np.ndarray:
    """Split one client's images 60/20/20 into training, validation and test.

    The result depends only on the arguments, not on the order of the images, so a site computes the
    same split as a simulation. The units of the n images are put in random order. A unit goes to
    training if fewer than ⌊(6n + 5)/10⌋ images come before it, otherwise to validation if fewer
    than ⌊(8n + 5)/10⌋ do, otherwise to test.

    Args:
        image_ids: unique ids, in any order.
        groups: from ``together``, in the same order. Used only with ``split_by="lesion"``.
        client_index: the rank of the client's name in the experiment's list of clients, ≥ 0.

    Returns:
        One of ``SPLITS`` for each image (array of str), in the order of ``image_ids``.
    """
    bounds = [(tenths * len(image_ids) + 5) // 10 for tenths in (6, 8)]
    return _split(image_ids, groups, bounds, [seed, client_index, _CLIENT_STREAM], split_by)


def split_rest(
    image_ids: Sequence[str],
    groups: Sequence[Hashable],
    *,
    seed: int,
    client_index: int,
    split_by: SplitBy,
) -> np.ndarray:
    """Split the images of a client that are not for testing 3:1 into training and validation.

    Beside a published test set of a fifth this gives 60/20/20, too. As ``split_client``, but of n
    images a unit goes to training if fewer than ⌊(3n + 2)/4⌋ come before it, else to validation.
    """
    bounds = [(3 * len(image_ids) + 2) // 4, len(image_ids)]
    return _split(image_ids, groups, bounds, [seed, client_index, _REST_STREAM], split_by)


def split_release(
    image_ids: Sequence[str], groups: Sequence[Hashable], *, seed: int, split_by: SplitBy
) -> np.ndarray:
    """Split a training release 80/20 into training and validation, for centralized training.

    As ``split_client``, but a unit goes to training if fewer than ⌊(8n + 5)/10⌋ images come before
    it, else to validation.
    """
    bounds = [(8 * len(image_ids) + 5) // 10, len(image_ids)]
    return _split(image_ids, groups, bounds, [seed, _RELEASE_STREAM], split_by)


def split_by_folders(rows: pd.DataFrame, *, split_by: SplitBy) -> np.ndarray:
    """Return the splits that a training release already has.

    Args:
        split_by: with "lesion", no lesion may be in two splits, nor may images with identical
            pixels, or that look alike: see `together`.

    Returns:
        One of ``SPLITS`` for each row (array of str).

    Raises:
        DataError: a lesion is in two splits.
    """
    if split_by == "lesion":
        groups = pd.Series(together(rows), index=rows.index, dtype=object)
        splits = rows["split"].groupby(groups).transform("nunique")
        if len(twice := rows[splits > 1]):
            lesion = twice["lesion_id"].iloc[0]
            named = f"lesion {lesion}" if isinstance(lesion, str) else twice["image_id"].iloc[0]
            raise DataError(
                f"split-by = lesion: {named} has images, or copies of them, for validation and for "
                "training; move them into one folder, or give them one split"
            )
    return rows["split"].to_numpy(dtype=str)


def split_patients(rows: pd.DataFrame, *, seed: int) -> np.ndarray:
    """Split patients 7:1:2 within each class, as the study does with BraTS2019.

    Of a class's n patients, in random order, ⌊7n/10⌋ are for training, ⌊n/10⌋ for validation and
    the rest for test. The study's 255 patients of high grade and 76 of low grade give 231, 32 and
    68; the official release's 259 and 76 give 234, 32 and 69. Patient names that share slices with
    identical pixels count as one patient.

    Args:
        rows: columns ``image_id``, ``label`` and ``lesion_id`` (the patient, never None), and
            optionally ``pixels_sha256``. The order of rows does not matter. A column ``split``, if
            there is one, is returned unchanged.
        seed: the experiment's seed, ≥ 0.

    Returns:
        One of ``SPLITS`` for each row (array of str).
    """
    if "split" in rows:
        return rows["split"].to_numpy(dtype=str)
    rng = np.random.default_rng([seed, _PATIENT_STREAM])
    split_of_patient: dict[str, str] = {}
    # If a patient has several names, the first is used.
    groups = pd.Series(together(rows), index=rows.index)
    names = rows["lesion_id"].groupby(groups).transform("min")
    for _, patients in sorted(names.groupby(rows["label"])):
        permuted = rng.permutation(np.unique(patients.to_numpy(dtype=str))).tolist()
        bounds = [7 * len(permuted) // 10, 7 * len(permuted) // 10 + len(permuted) // 10]
        places = np.searchsorted(bounds, np.arange(len(permuted)), side="right")
        split_of_patient.update(zip(permuted, np.array(SPLITS)[places].tolist(), strict=True))
    return names.map(split_of_patient).to_numpy(dtype=str)


def number_units(groups: Sequence[Hashable], split_by: SplitBy) -> np.ndarray:
    """Number units 0, 1, … by each unit's first image.

    Args:
        groups: from ``together``, of images sorted by id.
        split_by: with "image", each image is a unit.

    Returns:
        int64, a number for each image.
    """
    if split_by == "image":
        return np.arange(len(groups))
    keys = [(place,) if group is None else group for place, group in enumerate(groups)]
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _split(
    image_ids: Sequence[str],
    groups: Sequence[Hashable],
    bounds: Sequence[int],
    seed: Sequence[int],
    split_by: SplitBy,
) -> np.ndarray:
    """Cut randomly ordered units after these numbers of images."""
    order = np.argsort(np.asarray(image_ids, dtype=object), kind="stable")
    unit_of_image = number_units([groups[place] for place in order], split_by)
    unit_sizes = np.bincount(unit_of_image)
    permuted = np.random.default_rng(seed).permutation(len(unit_sizes))
    images_before = np.empty(len(unit_sizes), dtype=np.int64)
    images_before[permuted] = np.cumsum(unit_sizes[permuted]) - unit_sizes[permuted]
    split_of_unit = np.searchsorted(bounds, images_before, side="right")
    answer = np.empty(len(image_ids), dtype=f"<U{max(map(len, SPLITS))}")
    answer[order] = np.array(SPLITS)[split_of_unit[unit_of_image]]
    return answer
