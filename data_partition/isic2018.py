"""The test set of the ISIC challenge 2018, Task 3: the federation's global test images."""

from pathlib import Path

from data_partition.errors import DataError
from data_partition.ham10000_tables import (
    HAM10000_CLASSES,
    METADATA_COLUMNS,
    ONE_HOT_COLUMNS,
    read_challenge_truth,
    read_class_folders,
    read_metadata,
)
from data_partition.image_files import FoundFile
from data_partition.image_table import ImageTable
from data_partition.label_join import storage
from data_partition.label_tables import is_table, read_header
from data_partition.pad_ufes20 import COMMON, pad_ufes20_tables, read_pad_ufes20
from data_partition.published import Labels, load_published_test
from data_partition.unread_files import say_what_else

# Squamous cell carcinoma is left out: HAM10000 has none, and its class akiec only the disease that
# becomes one, Bowen's, which PAD-UFES-20's release counts under SCC.
_OF_PAD_UFES20 = {**COMMON, "ACK": "akiec", "BOD": "akiec"}


def load_test(data_dir: Path, test_dir: Path | None) -> ImageTable | None:
    """Find the test images in a folder and return them as a table.

    Four layouts are read: the ISIC challenge's release (one-hot truth), Dataverse's (a folder or
    zip archive of images, with the truth in the format of HAM10000's metadata) and folders
    ``test/<class>/*.jpg``; and PAD-UFES-20, in HAM10000's classes. Nothing is decoded.

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
    return load_published_test(
        data_dir, test_dir, _labels, HAM10000_CLASSES, "ISIC2018 Task 3 test set"
    )


def _labels(directory: Path, files: list[FoundFile], found: list[FoundFile]) -> Labels:
    if pad_ufes20_tables(files):
        return read_pad_ufes20(files, _OF_PAD_UFES20)
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
