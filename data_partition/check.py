"""A thorough look at a data folder, every image decoded."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_partition.decode import ImageFiles, image_name, rgb_image
from data_partition.errors import DataError
from data_partition.ham10000 import load_training
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
        progress: called after each image with how many are done and how many there are.

    Raises:
        DataError: as ``load_training`` and ``load_test`` raise it; an unreadable image does not.
    """
    training, test = load_training(data_dir), load_test(data_dir, test_dir)
    files = [*_files(training), *(_files(test) if test else ())]
    unreadable = set()
    with ImageFiles() as source, ThreadPoolExecutor(_THREADS) as pool:
        verdicts = pool.map(lambda file: _is_readable(source, file), files)
        for done, (file, readable) in enumerate(zip(files, verdicts, strict=True), start=1):
            if not readable:
                unreadable.add(file)
            if progress is not None:
                progress(done, len(files))
    return CheckReport(
        training=_report(training, unreadable),
        test=_report(test, unreadable) if test else None,
    )


def _files(table: ImageTable) -> list[tuple[str, str]]:
    return list(zip(table.rows["path"], table.rows["member"], strict=True))


def _is_readable(source: ImageFiles, file: tuple[str, str]) -> bool:
    try:
        rgb_image(source.read(*file), image_name(*file))
    except (OSError, DataError):
        return False
    return True


def _report(table: ImageTable, unreadable: set[tuple[str, str]]) -> SetReport:
    broken = np.array([file in unreadable for file in _files(table)])
    rows = table.rows[~broken]
    set_aside = dict(table.set_aside)
    if broken.any():
        set_aside["unreadable image"] = tuple(table.rows["image_id"][broken])
    images_per_lesion = rows["lesion_id"].value_counts()
    per_class = rows["label"].value_counts()
    return SetReport(
        layout=table.layout,
        images=len(rows),
        classes={name: int(per_class.get(name, 0)) for name in table.classes},
        lesions=len(images_per_lesion),
        lesions_with_several_images=int((images_per_lesion > 1).sum()),
        sources={
            str(name): int(number)
            for name, number in rows["source"].value_counts().sort_index().items()
        },
        set_aside=set_aside,
    )
