"""A thorough look at a data folder, every image decoded."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_partition.decode import ImageFiles, image_name, rgb_image
from data_partition.errors import DataError
from data_partition.ham10000 import load_training
from data_partition.image_store import UNREADABLE
from data_partition.image_table import ImageTable
from data_partition.isic2018 import load_test

# Pillow decodes outside the interpreter's lock; more threads than this only wait for the disk.
_THREADS = 8


@dataclass(frozen=True)
class SetReport:
    """What one data set holds. Images that cannot be decoded count only in ``set_aside``.

    Attributes:
        layout: the recognised layout in words.
        images: number of usable images.
        classes: number of usable images by class, in the order of the classes.
        lesions: number of known lesions; 0 where the release does not name them.
        lesions_with_several_images: number of lesions with two images or more.
        sources: number of usable images by source, where the release names sources.
        set_aside: names of what is not used, by reason.
    """

    layout: str
    images: int
    classes: dict[str, int]
    lesions: int
    lesions_with_several_images: int
    sources: dict[str, int]
    set_aside: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class CheckReport:
    """What a data folder holds.

    Attributes:
        training: the training set.
        test: the test set, or None if there is none.
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
        DataError: as ``load_training`` and ``load_test`` raise it; an unreadable image does not.
    """
    training = set_aside_unreadable(load_training(data_dir), progress)
    test = load_test(data_dir, test_dir)
    return CheckReport(
        training=_report(training),
        test=None if test is None else _report(set_aside_unreadable(test, progress)),
    )


def set_aside_unreadable(
    table: ImageTable, progress: Callable[[int, int], None] | None = None
) -> ImageTable:
    """Decodes every image of a table and returns the table of those that can be decoded.

    Args:
        table: the images as recognised.
        progress: called after each image with how many are done and how many there are.
    """
    files = list(zip(table.rows["path"], table.rows["member"], strict=True))
    readable = np.zeros(len(files), dtype=bool)
    with ImageFiles() as source, ThreadPoolExecutor(_THREADS) as pool:
        verdicts = pool.map(lambda file: _is_readable(source, file), files)
        for index, verdict in enumerate(verdicts):
            readable[index] = verdict
            if progress is not None:
                progress(index + 1, len(files))
    if readable.all():
        return table
    unreadable = tuple(table.rows["image_id"][~readable])
    return replace(
        table,
        rows=table.rows[readable].reset_index(drop=True),
        set_aside={**table.set_aside, UNREADABLE: unreadable},
    )


def _is_readable(source: ImageFiles, file: tuple[str, str]) -> bool:
    try:
        rgb_image(source.read(*file), image_name(*file))
    except (OSError, DataError):
        return False
    return True


def _report(table: ImageTable) -> SetReport:
    images_per_lesion = table.rows["lesion_id"].value_counts()
    per_class = table.rows["label"].value_counts()
    return SetReport(
        layout=table.layout,
        images=len(table.rows),
        classes={name: int(per_class.get(name, 0)) for name in table.classes},
        lesions=len(images_per_lesion),
        lesions_with_several_images=int((images_per_lesion > 1).sum()),
        sources={
            str(name): int(number)
            for name, number in table.rows["source"].value_counts().sort_index().items()
        },
        set_aside=table.set_aside,
    )
