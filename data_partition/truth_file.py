"""The ground truth of the ISIC 2018 Task 3 test set, one file in either release's format."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.ham10000_tables import (
    METADATA_COLUMNS,
    ONE_HOT_COLUMNS,
    read_challenge_truth,
    read_metadata,
)
from data_partition.image_files import FoundFile
from data_partition.label_tables import read_header

CHALLENGE_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""The challenge's columns: the labels in capitals, in the challenge's order."""

CHALLENGE_CLASSES = tuple(sorted(name.lower() for name in CHALLENGE_COLUMNS))
"""The challenge's classes in the order of a network's outputs."""


def read_truth(path: Path) -> pd.DataFrame:
    """Read a truth file: the ISIC challenge's, one-hot, or Dataverse's, with ``dx``.

    Args:
        path: a table, comma or tab separated, with columns in any order.

    Returns:
        Columns ``image_id`` and ``label``, a row per image in the file's order, ids unique.

    Raises:
        DataError: there is no such file; the table has neither format; a one-hot table has further
            columns; a row is not one-hot; a label is not one of the seven classes; or an image has
            two rows.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such truth file")
    file = FoundFile(str(path.absolute()), "", (path.name,), -1)
    header = read_header(file)
    if header >= ONE_HOT_COLUMNS:
        # A weight or an eighth class would be ignored without notice.
        if further := sorted(header - ONE_HOT_COLUMNS):
            raise DataError(
                f"{path}: has the column {', '.join(further)} beside the image and the seven "
                "classes; remove it"
            )
        rows = read_challenge_truth(file)
    elif header >= METADATA_COLUMNS:
        rows = read_metadata(file)
    else:
        raise DataError(
            f"{path}: is not a ground truth file; it needs the columns image, "
            f"{', '.join(CHALLENGE_COLUMNS)} (ISIC challenge) or image_id, dx (Dataverse)"
        )
    twice = rows["image_id"][rows["image_id"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: image {twice.iloc[0]} has two rows; remove one")
    return rows[["image_id", "label"]]


def as_one_hot(rows: pd.DataFrame, columns: Sequence[str] = CHALLENGE_COLUMNS) -> pd.DataFrame:
    """Return labels as the ISIC challenges publish them.

    Returns:
        Column ``image``, and one for each class, in capitals: a single 1.0 in each of the n rows.
    """
    of_class = {name: (rows["label"] == name.lower()).astype(float) for name in columns}
    return pd.DataFrame({"image": rows["image_id"], **of_class}).reset_index(drop=True)
