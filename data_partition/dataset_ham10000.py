"""HAM10000, dermatoscopic images of skin lesions, with the ISIC challenge 2018's test set.

Tschandl, Rosendahl, Kittler: The HAM10000 dataset. Scientific Data 5:180161, 2018. Its licence is
CC BY-NC 4.0.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data_partition.dataset import DataSet, Reading, Study, Synthetic
from data_partition.errors import DataError
from data_partition.ham10000_tables import (
    FULL_NAMES,
    HAM10000_CLASSES,
    METADATA_COLUMNS,
    ONE_HOT_COLUMNS,
    read_challenge_truth,
    read_class_folders,
    read_lesion_groupings,
    read_metadata,
)
from data_partition.image_files import FoundFile, storage
from data_partition.image_table import ImageTable
from data_partition.isic2019_split import SPLIT
from data_partition.isic2019_tables import is_isic2019
from data_partition.label_tables import is_table, read_header, tables_with
from data_partition.pad_ufes20 import COMMON, pad_ufes20_tables, read_pad_ufes20
from data_partition.published import Labels, load_published_test, load_published_training
from data_partition.synthetic_ham10000 import write_ham10000
from data_partition.unread_files import say_what_else

# Squamous cell carcinoma is left out: HAM10000 has none, and its class akiec only the disease that
# becomes one, Bowen's, which PAD-UFES-20's release counts under SCC.
_OF_PAD_UFES20 = {**COMMON, "ACK": "akiec", "BOD": "akiec"}

_PARTS = (
    "; HAM10000's images come in two parts, HAM10000_images_part_1 with 5,000 and "
    "HAM10000_images_part_2 with 5,015: provide both"
)


def load_test(data_dir: Path, test_dir: Path | None) -> ImageTable | None:
    """Find the test images in a folder; see `load_published_test`.

    Four layouts are read: the ISIC challenge's release (one-hot truth), Dataverse's (a folder or
    zip archive of images, with the truth in the format of HAM10000's metadata) and folders
    ``test/<class>/*.jpg``; and PAD-UFES-20, in HAM10000's classes.

    Raises:
        DataError: also if test images have no truth, a label is not one of the seven classes, or a
            row is not one-hot.
    """
    return load_published_test(
        data_dir, test_dir, _test_labels, HAM10000_CLASSES, "ISIC2018 Task 3 test set"
    )


def _test_labels(directory: Path, files: list[FoundFile], found: list[FoundFile]) -> Labels:
    if pad_ufes20_tables(files):
        return read_pad_ufes20(files, _OF_PAD_UFES20)
    images = [file for file in files if file.is_image]
    one_hot = tables_with(files, ONE_HOT_COLUMNS)
    metadata = tables_with(files, METADATA_COLUMNS)
    # Other published tables, such as the readers' answers, have the same columns.
    named = [file for file in (*one_hot, *metadata) if "groundtruth" in file.stem.lower()]
    if named:
        one_hot = [file for file in one_hot if file in named]
        metadata = [file for file in metadata if file in named]
    if one_hot or metadata:
        release = "ISIC challenge" if one_hot else "Dataverse"
        rows = [*map(read_challenge_truth, one_hot), *map(read_metadata, metadata)]
        return Labels(rows, f"ISIC2018 Task 3 test set, {release} release ({storage(images)})")
    by_folder = read_class_folders(images)
    if len(by_folder):
        return Labels([by_folder], f"test set, one folder per class ({storage(images)})")
    raise DataError(
        f"{directory} has {len(images)} test images but no labels for them; add "
        "ISIC2018_Task3_Test_GroundTruth.csv or test/<class>/ folders, or move the images away"
        f"{say_what_else(found)}"
    )


def is_ham10000(files: Iterable[FoundFile]) -> bool:
    """Return whether files are HAM10000's, by its metadata, truth or class folders.

    ISIC 2019 contains its images, and HAM10000's metadata is put beside them for their sources.
    """
    files = list(files)
    return not is_isic2019(files) and any(
        _is_metadata(file)
        or _is_truth(file)
        or (file.is_image and file.parts[-2:-1] and file.parts[-2].lower() in HAM10000_CLASSES)
        for file in files
    )


def load_training(
    data_dir: Path,
    reading: Reading = Reading(),  # noqa: B008 - immutable
) -> ImageTable:
    """Find the training images of HAM10000 in a folder; see `load_published_training`.

    Four layouts are read: the Dataverse release (folders, or zip archives), the Kaggle release, the
    ISIC challenge 2018 Task 3 release and folders ``train/<class>/*.jpg``; each may be one folder
    deeper. ``lesion_id`` and ``source`` are None if the release does not give them.

    Raises:
        DataError: also if there is no release in the folder, or a label is not one of the seven
            classes.
    """
    return load_published_training(data_dir, _labels, HAM10000_CLASSES, reading.tests_in)


def _labels(data_dir: Path, files: list[FoundFile], found: list[FoundFile]) -> Labels:
    images = [file for file in files if file.is_image]
    metadata = [file for file in files if _is_metadata(file)]
    # HAM10000's metadata is preferred to the challenge's truth: it has lesions and sources.
    if metadata:
        kaggle = any(_named(file, "hmnist_") for file in files)
        release = "Kaggle" if kaggle else "Dataverse"
        layout = f"HAM10000, {release} release ({storage(images)})"
        return Labels([*map(read_metadata, metadata)], layout, hint=_PARTS)
    truths = [file for file in files if _is_truth(file)]
    if truths:
        layout = f"HAM10000, ISIC challenge 2018 Task 3 release ({storage(images)})"
        return Labels([_with_lesions(read_challenge_truth(file), files) for file in truths], layout)
    by_folder = read_class_folders(images)
    if len(by_folder):
        return Labels([by_folder], f"HAM10000, one folder per class ({storage(images)})")
    raise DataError(
        f"no HAM10000 training set in {data_dir}: found {len(images)} training images, but neither "
        "HAM10000_metadata, nor ISIC2018_Task3_Training_GroundTruth.csv, nor train/<class>/ folders"
        f"{say_what_else(found)}"
    )


def _with_lesions(rows: pd.DataFrame, files: list[FoundFile]) -> pd.DataFrame:
    for file in files:
        if is_table(file) and file.stem.lower().endswith("lesiongroupings"):
            lesions = read_lesion_groupings(file)
            rows["lesion_id"] = [lesions.get(image_id) for image_id in rows["image_id"]]
    return rows


def _is_metadata(file: FoundFile) -> bool:
    return is_table(file) and _named(file, "ham10000_metadata")


def _is_truth(file: FoundFile) -> bool:
    named = is_table(file) and file.stem.lower().endswith("groundtruth")
    return named and read_header(file) >= ONE_HOT_COLUMNS


def _named(file: FoundFile, prefix: str) -> bool:
    return file.parts[-1].lower().startswith(prefix)


DATA_SET = DataSet(
    name="ham10000",
    title="HAM10000",
    classes=HAM10000_CLASSES,
    licence="CC BY-NC 4.0: non-commercial use only",
    full_names=FULL_NAMES,
    named_first=("mel",),
    sources=(
        "the metadata's column dataset, which is missing or has gaps; get the newer "
        "HAM10000_metadata"
    ),
    layouts="HAM10000_metadata, ISIC2018_Task3_Training_GroundTruth.csv or train/<class>/ folders",
    is_in=is_ham10000,
    load_training=load_training,
    load_test=load_test,
    # Four centres of Fed-ISIC2019 are its sources.
    published_split=SPLIT,
    study=Study(
        batch_size={"classifier": 32, "clip": 16},
        images=lambda _: (10_015, 1_512),
    ),
    synthetic=Synthetic(
        unit="images",
        default=600,
        write=write_ham10000,
        wrote="{count} training images and a test set",
    ),
)
