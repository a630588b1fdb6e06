"""Reads the labels of HAM10000 and of the ISIC challenge 2018 from tables and folders.

No column is read but those named below: ``dx_type``, how a diagnosis was confirmed, would leak the
diagnosis. For label rows see ``label_tables``.
"""

from collections.abc import Sequence

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile
from data_partition.label_tables import optional_column, read_one_hot, read_table

FULL_NAMES = {
    "akiec": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
"""Full names by label, those of Tschandl et al. (2018)."""

HAM10000_CLASSES = tuple(FULL_NAMES)

_SHORT_LABELS = {
    **{name: label for label, name in FULL_NAMES.items()},
    "actinic keratoses": "akiec",
    "actinic keratoses and intraepithelial carcinoma": "akiec",
    "benign keratosis like lesion": "bkl",
    "benign keratosis like lesions": "bkl",
    "dermatofibromas": "df",
    "melanomas": "mel",
    "melanocytic nevi": "nv",
    "nevi": "nv",
    "nevus": "nv",
    "vascular": "vasc",
    "vascular lesions": "vasc",
}


def short_label(words: str) -> str | None:
    """Return HAM10000's label for a class in words, in any case, or None."""
    return _SHORT_LABELS.get(" ".join(words.lower().replace("-", " ").replace("_", " ").split()))


METADATA_COLUMNS = frozenset({"image_id", "dx"})
ONE_HOT_COLUMNS = frozenset({"image", *(name.upper() for name in HAM10000_CLASSES)})


def read_metadata(file: FoundFile) -> pd.DataFrame:
    """Return label rows of a table like HAM10000's metadata, in its order.

    Args:
        file: a table with ``image_id`` and ``dx``, and optionally ``lesion_id`` and ``dataset``.

    Raises:
        DataError: the table is unreadable, lacks a column, or has a label that is not one of the
            seven classes.
    """
    table = read_table(file, METADATA_COLUMNS)
    rows = pd.DataFrame({"image_id": table["image_id"], "label": table["dx"].str.lower()})
    rows["lesion_id"] = optional_column(table, "lesion_id")
    rows["source"] = optional_column(table, "dataset")
    unknown = rows[~rows["label"].isin(HAM10000_CLASSES)]
    if len(unknown):
        image_id, label = unknown.iloc[0][["image_id", "label"]]
        raise DataError(_unknown_label(f"{file.name}: image {image_id}", label))
    return rows


def read_challenge_truth(file: FoundFile) -> pd.DataFrame:
    """Read the ground truth of the ISIC challenge 2018; for errors see `read_one_hot`."""
    return read_one_hot(file, HAM10000_CLASSES)


def read_lesion_groupings(file: FoundFile) -> dict[str, str | None]:
    """Read the lesion of each image of the ISIC challenge, by image id.

    Raises:
        DataError: the table is unreadable, lacks a column, or gives an image two lesions.
    """
    table = read_table(file, frozenset({"image", "lesion_id"}))
    table = table.assign(lesion_id=optional_column(table, "lesion_id"))
    pairs = table[["image", "lesion_id"]].drop_duplicates()
    twice = pairs["image"][pairs["image"].duplicated()]
    if len(twice):
        raise DataError(f"{file.name}: image {twice.iloc[0]} has two lesions; remove one row")
    return dict(zip(pairs["image"], pairs["lesion_id"], strict=True))


def read_class_folders(images: Sequence[FoundFile]) -> pd.DataFrame:
    """Label images by the folder they are in, which is named after a class.

    Returns:
        Label rows; none for images outside the class folders and the folders beside these.

    Raises:
        DataError: a folder with images beside the class folders is not named after a class.
    """
    folders = [tuple(part.lower() for part in image.parts[:-1]) for image in images]
    parents = {folder[:-1] for folder in folders if folder and folder[-1] in HAM10000_CLASSES}
    labels: list[tuple[str, str]] = []
    for image, folder in zip(images, folders, strict=True):
        if not folder or folder[:-1] not in parents:
            continue
        if folder[-1] not in HAM10000_CLASSES:
            name = "/".join(image.parts[:-1])
            raise DataError(_unknown_label(f"folder {name}", image.parts[-2]))
        labels.append((image.stem, folder[-1]))
    rows = pd.DataFrame(labels, columns=["image_id", "label"])
    return rows.assign(lesion_id=None, source=None)


def _unknown_label(where: str, label: str) -> str:
    known = ", ".join(HAM10000_CLASSES)
    if short := short_label(label):
        return (
            f"{where} has the class in words, {label!r}, where HAM10000 itself has {short!r}; get "
            f"the table as published, or write {known}"
        )
    return f"{where} has the label {label!r}, which is not one of {known}; correct it or remove it"
