"""A complete check of a data folder, with every image decoded."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.copies import Copies, Overlap, find_copies, find_overlap
from data_partition.dataset import DataSet, Reading
from data_partition.errors import DataError
from data_partition.image_store import DIGESTS, ProgressCallback, decode_usable, store_side
from data_partition.image_table import ImageTable
from data_partition.published_split import with_split
from data_partition.recognition import recognise
from data_partition.unread_files import merge_set_aside

# Pixels are compared at the size of an image store with the default image-size.
SIDE = store_side(224)


@dataclass(frozen=True)
class SetReport:
    """The contents of one data set."""

    table: ImageTable  # of its usable images; what cannot be decoded is set aside
    images: int  # number of usable images
    classes: dict[str, int]  # number of usable images by class, in the order of the classes
    lesions: int  # number of known lesions, or patients; 0 where the release does not name them
    lesions_with_several_images: int  # number of lesions with two images or more
    # For each lesion whose images have several classes, the image ids by class.
    diagnoses: dict[str, dict[str, list[str]]]
    # For each lesion whose images have several sources, the image ids by source.
    origins: dict[str, dict[str, list[str]]]
    sources: dict[str, int]  # number of usable images by source, if the release names sources
    splits: dict[str, int]
    copies: list[Copies]


@dataclass(frozen=True)
class CheckReport:
    """The contents of a data folder.

    Attributes:
        training: the training set; of slices all images, test patients included.
        overlap: the test images that are also in training; None if the test images depend on a
            seed.
        divided: the test images of a split file whose lesion, or which themselves, are also in its
            training part; None without a split file.
        images: all usable images, training and test, with the columns ``image_id``, ``label``,
            ``lesion_id``, ``pixels_sha256``, and ``is_test``.
    """

    training: SetReport
    test: SetReport | None
    overlap: Overlap | None
    divided: Overlap | None
    images: pd.DataFrame


def check_folder(
    data_dir: Path,
    test_dir: Path | None = None,
    progress: ProgressCallback | None = None,
    look: Callable[[NDArray[np.uint8]], None] | None = None,
    dataset: DataSet | None = None,
    split_file: Path | None = None,
) -> CheckReport:
    """Find the data sets in a folder and decode all their images.

    Args:
        test_dir: the folder of the test set; None looks inside ``data_dir``.
        progress: called after each image; it counts the images of one set.
        look: called with the pixels (SIDE, SIDE, 3) of each usable image, in the order of the
            report's ``images``.
        dataset: the data set; None: the one that is recognised.
        split_file: a split of the training set to check, the data set's published one.

    Raises:
        DataError: as raised by ``recognise`` and the data set's loaders; a test folder is given for
            a data set that has its own test patients, or a split file for one without a published
            split; or the system refuses to read a file. A
            damaged image raises nothing.
    """
    dataset = dataset or recognise(data_dir)
    if dataset.load_test is None and test_dir is not None:
        raise DataError(
            f"{test_dir}: {dataset.title} has its test patients in {data_dir}; "
            "leave the test folder out"
        )
    if dataset.published_split is None and split_file is not None:
        raise DataError(
            f"split-file = {str(split_file)!r}: {dataset.title} has no published split; "
            "leave the split file out"
        )
    # All tables are read first: decoding takes minutes.
    tests_in = None if test_dir is None else [test_dir]
    table = dataset.load_training(data_dir, Reading(tests_in))
    named = None
    if dataset.published_split is not None and split_file is not None:
        named = with_split(table.rows, dataset.published_split, split_file)
    tests = None if dataset.load_test is None else dataset.load_test(data_dir, test_dir)
    if tests is not None:
        tests = tests.with_classes(table.classes)
    training = decode_all(table, progress, look)
    divided = None
    if named is not None:
        rows = training.rows.assign(
            fold=training.rows["image_id"].map(named.set_index("image_id")["fold"])
        )
        divided = find_overlap(rows[rows["fold"] == "train"], rows[rows["fold"] == "test"])
    test = None if tests is None else decode_all(tests, progress, look)
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
        divided=divided,
        images=images,
    )


def decode_all(
    table: ImageTable,
    progress: ProgressCallback | None = None,
    look: Callable[[NDArray[np.uint8]], None] | None = None,
) -> ImageTable:
    """Decode all images of a table and return the table of the usable ones.

    Arguments as for `check_folder`.

    Returns:
        The table with the columns ``DIGESTS`` added; unusable images are set aside.
    """

    def keep(pixels: bytes) -> None:
        if look is not None:
            look(np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE, 3))

    decoded = decode_usable(table, SIDE, keep, progress)
    rows = table.rows.iloc[decoded.kept].reset_index(drop=True)
    rows[DIGESTS] = pd.DataFrame(decoded.digests, columns=DIGESTS, dtype=object)
    return replace(table, rows=rows, set_aside=merge_set_aside(table.set_aside, decoded.set_aside))


def _report(table: ImageTable) -> SetReport:
    rows = table.rows
    images_per_lesion = rows["lesion_id"].value_counts()
    per_class = rows["label"].value_counts()
    return SetReport(
        table=table,
        images=len(rows),
        classes={name: int(per_class.get(name, 0)) for name in table.classes},
        lesions=len(images_per_lesion),
        lesions_with_several_images=int((images_per_lesion > 1).sum()),
        diagnoses=_differing(rows, "label"),
        origins=_differing(rows, "source"),
        sources=_counts(rows, "source"),
        splits=_counts(rows, "split") if "split" in rows else {},
        copies=find_copies(rows),
    )


def _differing(rows: pd.DataFrame, column: str) -> dict[str, dict[str, list[str]]]:
    """Return image ids by value of a column, for each lesion that has several values."""
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
