"""A thorough look at a data folder, every image decoded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.brats2019 import load_brats2019
from data_partition.copies import Copies, find_copies
from data_partition.errors import DataError
from data_partition.ham10000 import load_training
from data_partition.image_reader import Decoded, Unusable
from data_partition.image_store import DIGESTS, store_side
from data_partition.image_table import GroupedBy, ImageTable
from data_partition.isic2018 import load_test
from data_partition.overlap import Overlap, find_overlap
from data_partition.recognition import recognise

# Pixels are compared as in the image store of a run with the default image-size.
SIDE = store_side(224)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SetReport:
    """What one data set holds. Images that cannot be decoded count only in ``set_aside``.

    Attributes:
        layout: the recognised layout in words.
        grouped_by: what the images are grouped by: a lesion, or a patient.
        images: number of usable images.
        classes: number of usable images by class, in the order of the classes.
        lesions: number of known lesions, or patients; 0 where the release does not name them.
        lesions_with_several_images: number of them with two images or more.
        diagnoses: ids of images by class, of the lesions whose images have several classes.
        origins: ids of images by source, of the lesions whose images have several sources.
        sources: number of usable images by source, where the release names sources.
        splits: number of usable images by split, where the data set itself comes split.
        set_aside: names of what is not used, by reason.
        notices: what a person must know, a sentence each.
        copies: images with identical pixels under several ids.
    """

    layout: str
    grouped_by: GroupedBy
    images: int
    classes: dict[str, int]
    lesions: int
    lesions_with_several_images: int
    diagnoses: dict[str, dict[str, list[str]]]
    origins: dict[str, dict[str, list[str]]]
    sources: dict[str, int]
    splits: dict[str, int]
    set_aside: dict[str, tuple[str, ...]]
    notices: tuple[str, ...]
    copies: list[Copies]


@dataclass(frozen=True)
class CheckReport:
    """What a data folder holds.

    Attributes:
        training: the training set; all of BraTS2019, whose test patients are among the others.
        test: the test set, or None if there is none of its own.
        overlap: which test images are also in training; None where no images are the test's
            before a seed has chosen them.
        images: all usable images, training and test, with the columns ``image_id``, ``label``,
            ``lesion_id``, ``pixels_sha256``, and ``is_test``.
    """

    training: SetReport
    test: SetReport | None
    overlap: Overlap | None
    images: pd.DataFrame


def check(
    data_dir: Path,
    test_dir: Path | None = None,
    progress: Progress | None = None,
    look: Callable[[NDArray[np.uint8]], None] | None = None,
) -> CheckReport:
    """Recognises the data sets in a folder and decodes every image of them.

    Args:
        data_dir: the folder of the training set.
        test_dir: the folder of the test set; None looks inside ``data_dir``.
        progress: called after each image with how many of its set are done, and how many
            there are.
        look: called with the pixels (SIDE, SIDE, 3) of each usable image, in the order of the
            report's ``images``.

    Raises:
        DataError: as ``recognise``, ``load_training``, ``load_test`` and ``load_brats2019`` raise
            it, a test folder for BraTS2019, or a file that the system refuses to read; an
            unreadable image does not.
    """
    test = None
    if recognise(data_dir) == "brats2019":
        if test_dir is not None:
            raise DataError(f"{test_dir}: BraTS2019 has its test patients in {data_dir}; leave out")
        training = decode_all(load_brats2019(data_dir), progress, look)
    else:
        tests_in = None if test_dir is None else [test_dir]
        training = decode_all(load_training(data_dir, tests_in=tests_in), progress, look)
        found = load_test(data_dir, test_dir)
        test = None if found is None else decode_all(found, progress, look)
    images = pd.concat(
        [table.rows.assign(is_test=table is test) for table in (training, test) if table],
        ignore_index=True,
    )
    if "split" in images:
        images["is_test"] |= images["split"] == "test"
    overlap = None
    if images["is_test"].any():
        overlap = find_overlap(images[~images["is_test"]], images[images["is_test"]])
    return CheckReport(
        training=_report(training),
        test=None if test is None else _report(test),
        overlap=overlap,
        images=images,
    )


def decode_all(
    table: ImageTable,
    progress: Progress | None = None,
    look: Callable[[NDArray[np.uint8]], None] | None = None,
) -> ImageTable:
    """Decodes every image of a table and returns the table of those that can be used.

    Args:
        table: the images as recognised.
        progress: called after each image with how many are done and how many there are.
        look: called with the pixels (SIDE, SIDE, 3) of each image that can be used.

    Returns:
        The table with the columns ``DIGESTS``; the other images are set aside.

    Raises:
        DataError: the system refuses to read a file.
    """
    usable = np.zeros(len(table.rows), dtype=bool)
    digests: list[tuple[str, str | None]] = []
    set_aside = {reason: list(names) for reason, names in table.set_aside.items()}
    for index, image in enumerate(_decoded(table)):
        if isinstance(image, Unusable):
            set_aside.setdefault(image.reason, []).append(image.name)
        else:
            usable[index] = True
            digests.append((image.sha256, image.pixels_sha256()))
            if look is not None:
                look(np.frombuffer(image.pixels, np.uint8).reshape(SIDE, SIDE, 3))
        if progress is not None:
            progress(index + 1, len(table.rows))
    rows = table.rows[usable].reset_index(drop=True)
    rows[DIGESTS] = pd.DataFrame(digests, columns=DIGESTS, dtype=object)
    return replace(
        table,
        rows=rows,
        # A patient's slices all name the same patient.
        set_aside={reason: tuple(dict.fromkeys(names)) for reason, names in set_aside.items()},
    )


def _decoded(table: ImageTable) -> Iterator[Decoded | Unusable]:
    return table.reader.decode(table.rows, SIDE)


def _report(table: ImageTable) -> SetReport:
    rows = table.rows
    images_per_lesion = rows["lesion_id"].value_counts()
    per_class = rows["label"].value_counts()
    return SetReport(
        layout=table.layout,
        grouped_by=table.grouped_by,
        images=len(rows),
        classes={name: int(per_class.get(name, 0)) for name in table.classes},
        lesions=len(images_per_lesion),
        lesions_with_several_images=int((images_per_lesion > 1).sum()),
        diagnoses=_differing(rows, "label"),
        origins=_differing(rows, "source"),
        sources=_counts(rows, "source"),
        splits=_counts(rows, "split") if "split" in rows else {},
        set_aside=table.set_aside,
        notices=table.notices,
        copies=find_copies(rows),
    )


def _differing(rows: pd.DataFrame, column: str) -> dict[str, dict[str, list[str]]]:
    """The ids of images by value of a column, of the lesions that have several values."""
    known = rows[rows["lesion_id"].notna() & rows[column].notna()]
    several = known.groupby("lesion_id")[column].nunique() > 1
    return {
        str(lesion): {str(value): ids.tolist() for value, ids in images.groupby(column)["image_id"]}
        for lesion, images in known[known["lesion_id"].map(several).astype(bool)].groupby(
            "lesion_id"
        )
    }


def _counts(rows: pd.DataFrame, column: str) -> dict[str, int]:
    numbers = rows[column].value_counts().sort_index()
    return {str(name): int(number) for name, number in numbers.items()}
