"""ISIC 2019, dermatoscopic images of eight skin lesions from six centres.

Tschandl et al., Scientific Data 5:180161, 2018 (HAM10000); Codella et al., arXiv:1710.05006, 2017
(MSK); Combalia et al., arXiv:1908.02288, 2019 (BCN 20000). Its licence is CC BY-NC 4.0.
"""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from data_partition.dataset import DataSet, Reading, Study, Synthetic
from data_partition.errors import DataError
from data_partition.ham10000_tables import METADATA_COLUMNS as HAM10000_COLUMNS
from data_partition.image_files import FoundFile, storage
from data_partition.image_table import ImageTable
from data_partition.isic2019_split import SPLIT
from data_partition.isic2019_tables import (
    FULL_NAMES,
    ISIC2019_CLASSES,
    METADATA_COLUMNS,
    UNKNOWN,
    is_isic2019,
    is_truth,
    read_origins,
    read_truth,
)
from data_partition.label_tables import tables_with
from data_partition.pad_ufes20 import COMMON, pad_ufes20_tables, read_pad_ufes20
from data_partition.published import Labels, load_published_test, load_published_training
from data_partition.synthetic_isic2019 import write_isic2019
from data_partition.unread_files import say_what_else

_OF_NO_CLASS = "image of the class UNK, which training does not have"
_OF_NO_CENTRE = "image without a lesion id, so that its centre is unknown"

# Both count Bowen's disease under squamous cell carcinoma.
_OF_PAD_UFES20 = {**COMMON, "SCC": "scc", "BOD": "scc"}


def load_training(
    data_dir: Path,
    reading: Reading = Reading(),  # noqa: B008 - immutable
) -> ImageTable:
    """Find the training images of ISIC 2019 in a folder and return them as a table.

    Read are ``ISIC_2019_Training_GroundTruth.csv``; ``ISIC_2019_Training_Metadata.csv``, for
    lesions and centres; and HAM10000's metadata, for the sources of its images. The last two may be
    missing. Nothing is decoded.

    If sources are the clients, images that belong to no centre because they have no lesion id are
    set aside, as Fed-ISIC2019 does.

    Raises:
        DataError: there is no such folder, or no release in it; a row is not one-hot; a lesion's id
            is of no known centre; or no image has a label.
    """

    def read(directory: Path, files: list[FoundFile], found: list[FoundFile]) -> Labels:
        labels = _labels(directory, files, found)
        metadata = tables_with(files, METADATA_COLUMNS)
        lesions, sources = read_origins(metadata, tables_with(files, HAM10000_COLUMNS))
        left_out: dict[str, Collection[str]] = dict(labels.left_out)
        for rows in labels.rows:
            rows["lesion_id"] = rows["image_id"].map(lesions.get)
            rows["source"] = rows["image_id"].map(sources.get)
            if reading.by_source and metadata:
                left_out[_OF_NO_CENTRE] = rows["image_id"][rows["lesion_id"].isna()].tolist()
        return Labels(labels.rows, labels.layout, left_out)

    return load_published_training(data_dir, read, ISIC2019_CLASSES, reading.tests_in)


def load_test(data_dir: Path, test_dir: Path | None) -> ImageTable | None:
    """Find the challenge's test images, or PAD-UFES-20's; see `load_published_test`.

    Images of the challenge's ninth class, UNK, are set aside: training does not have it.
    """
    return load_published_test(
        data_dir, test_dir, _test_labels, ISIC2019_CLASSES, "ISIC 2019 test set"
    )


def _test_labels(directory: Path, files: list[FoundFile], found: list[FoundFile]) -> Labels:
    if pad_ufes20_tables(files):
        return read_pad_ufes20(files, _OF_PAD_UFES20)
    return _labels(directory, files, found)


def _labels(directory: Path, files: list[FoundFile], found: list[FoundFile]) -> Labels:
    images = [file for file in files if file.is_image]
    truths = [file for file in files if is_truth(file)]
    if not truths:
        raise DataError(
            f"no ISIC 2019 in {directory}: found {len(images)} images, but no ground truth of them "
            "such as ISIC_2019_Training_GroundTruth.csv; put it beside their folder"
            f"{say_what_else(found)}"
        )
    rows = pd.concat([*map(read_truth, truths)], ignore_index=True)
    unknown = rows["label"] == UNKNOWN
    return Labels(
        [rows[~unknown].reset_index(drop=True)],
        f"ISIC 2019 ({storage(images)})",
        {_OF_NO_CLASS: rows["image_id"][unknown].tolist()},
    )


DATA_SET = DataSet(
    name="isic2019",
    title="ISIC 2019",
    classes=ISIC2019_CLASSES,
    licence="CC BY-NC 4.0: non-commercial use only",
    full_names=FULL_NAMES,
    named_first=("mel",),
    sources=(
        "the centre of every image: put ISIC_2019_Training_Metadata.csv and HAM10000_metadata, "
        "with its column dataset, beside ISIC_2019_Training_GroundTruth.csv"
    ),
    layouts="ISIC_2019_Training_GroundTruth.csv and ISIC_2019_Training_Input/",
    is_in=is_isic2019,
    load_training=load_training,
    load_test=load_test,
    study=Study(batch_size={"classifier": 32, "clip": 16}),
    synthetic=Synthetic(
        unit="images",
        default=600,
        write=write_isic2019,
        wrote="{count} training images of six centres, a test set and a split file",
    ),
    published_split=SPLIT,
)
