"""A thorough look at a data folder, every image decoded."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_partition.brats2019 import load_brats2019
from data_partition.errors import DataError
from data_partition.ham10000 import load_training
from data_partition.image_reader import Unusable
from data_partition.image_table import GroupedBy, ImageTable
from data_partition.isic2018 import load_test
from data_partition.recognition import recognise

# Whether an image can be decoded is asked, not how it looks.
_SIDE = 8


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
        sources: number of usable images by source, where the release names sources.
        splits: number of usable images by split, where the data set itself comes split.
        set_aside: names of what is not used, by reason.
        notices: what a person must know, a sentence each.
    """

    layout: str
    grouped_by: GroupedBy
    images: int
    classes: dict[str, int]
    lesions: int
    lesions_with_several_images: int
    sources: dict[str, int]
    splits: dict[str, int]
    set_aside: dict[str, tuple[str, ...]]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class CheckReport:
    """What a data folder holds.

    Attributes:
        training: the training set; all of BraTS2019, whose test patients are among the others.
        test: the test set, or None if there is none of its own.
    """

    training: SetReport
    test: SetReport | None


def check(
    data_dir: Path,
    test_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Recognises the data sets in a folder and decodes every image of them.

    Args:
        data_dir: the folder of the training set.
        test_dir: the folder of the test set; None looks inside ``data_dir``.
        progress: called after each image with how many of its set are done, and how many
            there are.

    Raises:
        DataError: as ``recognise``, ``load_training``, ``load_test`` and ``load_brats2019`` raise
            it, a test folder for BraTS2019, or a file that the system refuses to read; an
            unreadable image does not.
    """
    if recognise(data_dir) == "brats2019":
        if test_dir is not None:
            raise DataError(f"{test_dir}: BraTS2019 has its test patients in {data_dir}; leave out")
        slices = set_aside_unusable(load_brats2019(data_dir), progress)
        return CheckReport(training=_report(slices), test=None)
    table = load_training(data_dir, tests_in=None if test_dir is None else [test_dir])
    training = set_aside_unusable(table, progress)
    test = load_test(data_dir, test_dir)
    return CheckReport(
        training=_report(training),
        test=None if test is None else _report(set_aside_unusable(test, progress)),
    )


def set_aside_unusable(
    table: ImageTable, progress: Callable[[int, int], None] | None = None
) -> ImageTable:
    """Decodes every image of a table and returns the table of those that can be used.

    Args:
        table: the images as recognised.
        progress: called after each image with how many are done and how many there are.

    Raises:
        DataError: the system refuses to read a file.
    """
    usable = np.zeros(len(table.rows), dtype=bool)
    set_aside = {reason: list(names) for reason, names in table.set_aside.items()}
    for index, image in enumerate(table.reader.decode(table.rows, _SIDE)):
        if isinstance(image, Unusable):
            set_aside.setdefault(image.reason, []).append(image.name)
        else:
            usable[index] = True
        if progress is not None:
            progress(index + 1, len(table.rows))
    return replace(
        table,
        rows=table.rows[usable].reset_index(drop=True),
        # A patient's slices all name the same patient.
        set_aside={reason: tuple(dict.fromkeys(names)) for reason, names in set_aside.items()},
    )


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
        sources=_counts(rows, "source"),
        splits=_counts(rows, "split") if "split" in rows else {},
        set_aside=table.set_aside,
        notices=table.notices,
    )


def _counts(rows: pd.DataFrame, column: str) -> dict[str, int]:
    numbers = rows[column].value_counts().sort_index()
    return {str(name): int(number) for name, number in numbers.items()}
