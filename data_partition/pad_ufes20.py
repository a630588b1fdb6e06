"""PAD-UFES-20, smartphone photographs of skin lesions: a second domain, for judging only.

Pacheco et al.: PAD-UFES-20: a skin lesion dataset composed of patient data and clinical images
collected from smartphones. Data in Brief 32:106221, 2020. Its licence is CC BY 4.0.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile, storage
from data_partition.label_tables import read_table, tables_with
from data_partition.published import Labels

_COLUMNS = frozenset({"patient_id", "lesion_id", "img_id", "diagnostic"})
_OTHER_CLASS = "image of a diagnosis without a class in training"

COMMON = {"ACK": "ak", "BCC": "bcc", "SEK": "bkl", "MEL": "mel", "NEV": "nv"}
"""ISIC 2019's class of each diagnosis that other sets of dermatoscopic images have, too.

Seborrhoeic keratosis is one of the three lesions that are together called benign keratosis there.
"""
_DIAGNOSES = sorted([*COMMON, "BOD", "SCC"])


def pad_ufes20_tables(files: Iterable[FoundFile]) -> list[FoundFile]:
    """Return the files that are its metadata, by their columns."""
    return tables_with(files, _COLUMNS)


def read_pad_ufes20(files: Sequence[FoundFile], classes: Mapping[str, str]) -> Labels:
    """Read the labels of PAD-UFES-20 in another data set's classes.

    Args:
        files: its metadata and images, 2,298 in the release.
        classes: the class of each diagnosis (ACK, BCC, BOD, MEL, NEV, SCC, SEK); images of others
            are left out.

    Raises:
        DataError: the metadata is unreadable, or a diagnosis is unknown.
    """
    tables = [read_table(file, _COLUMNS) for file in pad_ufes20_tables(files)]
    table = pd.concat(tables, ignore_index=True)
    diagnoses = table["diagnostic"].str.upper()
    unknown = ~diagnoses.isin(_DIAGNOSES)
    if unknown.any():
        image_id, diagnosis = table[unknown].iloc[0][["img_id", "diagnostic"]]
        raise DataError(
            f"PAD-UFES-20: image {image_id} has the diagnosis {diagnosis!r}; known are "
            f"{', '.join(_DIAGNOSES)}: correct it"
        )
    rows = pd.DataFrame(
        {
            "image_id": table["img_id"].str.removesuffix(".png"),
            "label": diagnoses.map(classes.get),
            "lesion_id": table["patient_id"] + "_" + table["lesion_id"],
            "source": None,
        },
        dtype=object,
    )
    used = rows["label"].notna()
    images = [file for file in files if file.is_image]
    return Labels(
        [rows[used].reset_index(drop=True)],
        f"PAD-UFES-20, smartphone photographs ({storage(images)})",
        {_OTHER_CLASS: rows["image_id"][~used].tolist()},
    )
