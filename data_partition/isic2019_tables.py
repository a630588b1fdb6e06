"""Reads the labels, lesions and centres of ISIC 2019 from its tables. For label rows see
``label_tables``.
"""

from collections.abc import Iterable

import pandas as pd

from data_partition.errors import DataError
from data_partition.ham10000_tables import read_metadata as read_ham10000_metadata
from data_partition.image_files import FoundFile
from data_partition.label_tables import (
    is_table,
    optional_column,
    read_header,
    read_one_hot,
    read_table,
)
from operation.text import printable, quoted

FULL_NAMES = {
    "ak": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "scc": "squamous cell carcinoma",
    "vasc": "vascular lesion",
}
"""Full names by label, those of the challenge's page."""

ISIC2019_CLASSES = tuple(FULL_NAMES)

CENTRES = ("BCN", "vidir_molemax", "vidir_modern", "rosendahl", "MSK", "vienna_dias")
"""The centres in the order of their numbers in Fed-ISIC2019."""

UNKNOWN = "unk"
"""The label of the challenge's test images that belong to no class of training."""

TRUTH_COLUMNS = frozenset({"image", *(name.upper() for name in ISIC2019_CLASSES)})
METADATA_COLUMNS = frozenset({"image", "lesion_id", "age_approx", "anatom_site_general"})

# The beginnings of lesion ids. An image of HAM10000 is from one of four sources, which only
# HAM10000's own metadata names.
_OF_HAM10000 = "HAM_"
_CENTRES = {"BCN_": "BCN", "MSK4": "MSK", _OF_HAM10000: None}


def is_isic2019(files: Iterable[FoundFile]) -> bool:
    """Return whether files are ISIC 2019's, by the columns of a ground truth."""
    return any(map(is_truth, files))


def is_truth(file: FoundFile) -> bool:
    """Return whether a file is a ground truth of ISIC 2019, by its columns."""
    if not is_table(file):
        return False
    header = read_header(file)
    return header >= TRUTH_COLUMNS and "fold" not in header  # not the split of Fed-ISIC2019


def read_truth(file: FoundFile) -> pd.DataFrame:
    """Read a ground truth; its label is `UNKNOWN` for an image of no class."""
    has_unknown = UNKNOWN.upper() in read_header(file)
    return read_one_hot(file, (*ISIC2019_CLASSES, *((UNKNOWN,) if has_unknown else ())))


def read_origins(
    metadata: Iterable[FoundFile], ham10000: Iterable[FoundFile]
) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Read the lesion and the source of each image, by image id; None if unknown.

    The source is the centre of Fed-ISIC2019 (du Terrail et al., FLamby, NeurIPS 2022), derived in
    the same way: from the beginning of the lesion's id, or for images of HAM10000 from the column
    ``dataset`` of HAM10000's metadata.

    Args:
        metadata: ISIC 2019's, of training.
        ham10000: HAM10000's metadata; its lesions are taken for images that the other does not
            name.

    Raises:
        DataError: a table is unreadable or lacks a column, or a lesion's id is of no known centre.
    """
    lesions: dict[str, str | None] = {}
    sources: dict[str, str | None] = {}
    for rows in map(read_ham10000_metadata, ham10000):
        lesions |= dict(zip(rows["image_id"], rows["lesion_id"], strict=True))
        sources |= dict(zip(rows["image_id"], rows["source"], strict=True))
    for file in metadata:
        table = read_table(file, METADATA_COLUMNS)
        found = optional_column(table, "lesion_id")
        for image_id, lesion in zip(table["image"], found, strict=True):
            lesions[image_id] = lesion
            beginning = (lesion or "")[:4]
            if lesion is not None and beginning not in _CENTRES:
                raise DataError(
                    f"{file.name}: image {printable(image_id)} has the lesion {quoted(lesion)}, "
                    f"which begins like none of the known centres, {', '.join(_CENTRES)}; "
                    "correct it"
                )
            if beginning != _OF_HAM10000:
                sources[image_id] = _CENTRES.get(beginning)
    return lesions, sources
