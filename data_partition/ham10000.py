"""HAM10000's training images in each of the layouts they are published in."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data_partition.assembly import assemble, storage
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, find_files
from data_partition.image_table import HAM10000_CLASSES, ImageTable
from data_partition.label_tables import (
    ONE_HOT_COLUMNS,
    is_table,
    read_class_folders,
    read_header,
    read_lesion_groupings,
    read_metadata,
    read_one_hot,
)


def is_ham10000(files: Iterable[FoundFile]) -> bool:
    """Whether files are HAM10000's, by their names: its metadata, a truth, or class folders."""
    return any(
        (
            is_table(file)
            and (_named(file, "ham10000_metadata") or file.stem.lower().endswith("groundtruth"))
        )
        or (file.is_image and file.parts[-2:-1] and file.parts[-2].lower() in HAM10000_CLASSES)
        for file in files
    )


def load_training(data_dir: Path) -> ImageTable:
    """Recognises a HAM10000 training set by looking at what is there.

    Known are the Dataverse release (folders, or zip archives that are read in place), the Kaggle
    release, the ISIC challenge 2018 Task 3 release and a tree ``train/<class>/*.jpg``; each may
    lie a folder further down. Test and validation images of the challenge in the same folder are
    left alone. Nothing is decoded.

    Args:
        data_dir: the folder that holds the release.

    Returns:
        The labelled images; ``lesion_id`` and ``source`` are None where the release does not
        give them.

    Raises:
        DataError: no such folder, no release in it, a label that is none of the seven classes,
            contradicting rows for one image, or no image with a label.
    """
    files = [file for file in find_files(data_dir) if file.role in ("training", None)]
    images = [file for file in files if file.is_image]
    labels, layout = _labels(data_dir, files, images)
    return assemble(data_dir, labels, images, layout)


def _labels(
    data_dir: Path, files: list[FoundFile], images: list[FoundFile]
) -> tuple[list[pd.DataFrame], str]:
    metadata = [file for file in files if is_table(file) and _named(file, "ham10000_metadata")]
    # HAM10000's own metadata knows lesions and sources: it goes before the challenge's truth.
    if metadata:
        kaggle = any(_named(file, "hmnist_") for file in files)
        release = "Kaggle" if kaggle else "Dataverse"
        layout = f"HAM10000, {release} release ({storage(images)})"
        return [read_metadata(file) for file in metadata], layout
    truths = [
        file
        for file in files
        if is_table(file)
        and file.stem.lower().endswith("groundtruth")
        and read_header(file) >= ONE_HOT_COLUMNS
    ]
    if truths:
        layout = f"HAM10000, ISIC challenge 2018 Task 3 release ({storage(images)})"
        return [_with_lesions(read_one_hot(file), files) for file in truths], layout
    by_folder = read_class_folders(images)
    if len(by_folder):
        return [by_folder], f"HAM10000, one folder per class ({storage(images)})"
    raise DataError(
        f"no HAM10000 training set in {data_dir}: found {len(images)} training images, but neither "
        "HAM10000_metadata, nor ISIC2018_Task3_Training_GroundTruth.csv, nor train/<class>/ folders"
    )


def _with_lesions(rows: pd.DataFrame, files: list[FoundFile]) -> pd.DataFrame:
    for file in files:
        if is_table(file) and file.stem.lower().endswith("lesiongroupings"):
            lesions = read_lesion_groupings(file)
            rows["lesion_id"] = [lesions.get(image_id) for image_id in rows["image_id"]]
    return rows


def _named(file: FoundFile, prefix: str) -> bool:
    return file.parts[-1].lower().startswith(prefix)
