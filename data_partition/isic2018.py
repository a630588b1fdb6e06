"""The test set of the ISIC challenge 2018, Task 3: the federation's global test images."""

from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.ham10000_tables import (
    HAM10000_CLASSES,
    METADATA_COLUMNS,
    ONE_HOT_COLUMNS,
    read_class_folders,
    read_metadata,
    read_one_hot,
)
from data_partition.image_files import FoundFile, beginning, find_files
from data_partition.image_table import ImageTable
from data_partition.label_join import join_labels, storage
from data_partition.label_tables import is_table, read_header
from data_partition.unread_files import SetAside, merge_set_aside, say_what_else, unread_files


def load_test(data_dir: Path, test_dir: Path | None) -> ImageTable | None:
    """Find the test images in a folder and return them as a table.

    Three layouts are read: the ISIC challenge's release (one-hot truth), Dataverse's (a folder or
    zip archive of images, with the truth in the format of HAM10000's metadata) and folders
    ``test/<class>/*.jpg``. Nothing is decoded.

    Args:
        test_dir: the folder of the test set. If nothing in it is named as test data, files of any
            name are used, except those named as training or validation data. All other images in it
            that are not below ``data_dir`` are set aside.

    Returns:
        The labelled test images; None if ``test_dir`` is None and ``data_dir`` has no test images.

    Raises:
        DataError: there is no such folder, or no test set in ``test_dir``; test images have no
            truth; a label is not one of the seven classes; a row is not one-hot; two rows of an
            image contradict each other; or no image has a label.
    """
    directory = data_dir if test_dir is None else test_dir
    found = find_files(directory)
    files = [file for file in found if file.role == "test"]
    if test_dir is not None and not any(file.is_image for file in files):
        files = [file for file in found if file.role in ("test", None)]
    images = [file for file in files if file.is_image]
    if not images:
        if test_dir is None:
            return None
        raise DataError(
            f"no test images in {test_dir}; give the folder that holds the ISIC2018 Task 3 test "
            f"set, or leave the test folder out{say_what_else(found)}"
        )
    labels, layout = _labels(directory, files, found)
    set_aside: SetAside = {}
    if test_dir is not None:
        # Files below the data folder were already checked with the training set.
        inside = beginning(data_dir)
        beyond = [file for file in found if not file.path.startswith(inside)]
        used = set(images)
        others = [file.name for file in beyond if file.is_image and file not in used]
        set_aside = merge_set_aside(
            unread_files(beyond), {"image that is not named as a test image": others}
        )
    return join_labels(
        directory,
        labels,
        images,
        layout,
        classes=HAM10000_CLASSES,
        found=found,
        set_aside=set_aside,
    )


def _labels(
    directory: Path, files: list[FoundFile], found: list[FoundFile]
) -> tuple[list[pd.DataFrame], str]:
    images = [file for file in files if file.is_image]
    headers = {file: read_header(file) for file in files if is_table(file)}
    one_hot = [file for file, header in headers.items() if header >= ONE_HOT_COLUMNS]
    metadata = [file for file, header in headers.items() if header >= METADATA_COLUMNS]
    # Other published tables, such as the readers' answers, have the same columns.
    named = [file for file in (*one_hot, *metadata) if "groundtruth" in file.stem.lower()]
    if named:
        one_hot = [file for file in one_hot if file in named]
        metadata = [file for file in metadata if file in named]
    if one_hot or metadata:
        release = "ISIC challenge" if one_hot else "Dataverse"
        labels = [read_one_hot(file) for file in one_hot]
        labels += [read_metadata(file) for file in metadata]
        return labels, f"ISIC2018 Task 3 test set, {release} release ({storage(images)})"
    by_folder = read_class_folders(images)
    if len(by_folder):
        return [by_folder], f"test set, one folder per class ({storage(images)})"
    raise DataError(
        f"{directory} has {len(images)} test images but no labels for them; add "
        "ISIC2018_Task3_Test_GroundTruth.csv or test/<class>/ folders, or move the images away"
        f"{say_what_else(found)}"
    )
