"""The published split of Fed-ISIC2019: which images are for testing, and the centre of each."""

from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from data_partition.image_files import FoundFile
from data_partition.isic2019_tables import CENTRES
from data_partition.label_tables import read_table
from data_partition.published_split import PublishedSplit
from operation.text import printable, quoted

_COLUMNS = frozenset({"image", "center", "fold"})
_FOLDS = ("train", "test")


def read_split(path: Path) -> pd.DataFrame:
    """Read a split file in the form of FLamby's ``train_test_split.csv``.

    Args:
        path: a table with the columns ``image``, ``center`` (0 to 5) and ``fold`` (``train`` or
            ``test``); others are not read.

    Returns:
        Columns ``fold`` and ``source``, the centre's name; the index is the image id.

    Raises:
        DataError: there is no such file, it lacks a column, names an unknown centre or fold, or
            names an image twice.
    """
    if not path.is_file():
        raise DataError(f"split-file = {str(path)!r}: no such file; name train_test_split.csv")
    table = read_table(FoundFile(str(path.absolute()), "", (path.name,), -1), _COLUMNS)
    sources = table["center"].map({str(number): name for number, name in enumerate(CENTRES)})
    for column, known, wrong in (
        ("center", f"0 to {len(CENTRES) - 1}", sources.isna()),
        ("fold", " and ".join(_FOLDS), ~table["fold"].isin(_FOLDS)),
    ):
        if wrong.any():
            image_id, value = table[wrong].iloc[0][["image", column]]
            raise DataError(
                f"{path}: image {printable(image_id)} has the {column} {quoted(value)}; known are "
                f"{known}"
            )
    if (twice := table["image"].duplicated()).any():
        image_id = printable(table["image"][twice].iloc[0])
        raise DataError(f"{path}: image {image_id} has two rows; remove one")
    found = pd.DataFrame({"fold": table["fold"].to_numpy(), "source": sources.to_numpy()})
    return found.set_index(pd.Index(table["image"], name="image_id"))


SPLIT = PublishedSplit("flamby", "train_test_split.csv", read_split)
