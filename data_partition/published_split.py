"""A split of a data set's images that was published with figures of it, in a file of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_partition.errors import DataError
from operation.text import printable


@dataclass(frozen=True)
class PublishedSplit:
    """A published split.

    Attributes:
        name: the value of key ``split`` that divides clients' images so.
        file: how the file is called that the user brings.
        read: reads such a file: columns ``fold``, ``train`` or ``test``, and ``source``; the index
            is the image id. It raises DataError if the file cannot be used.
    """

    name: str
    file: str
    read: Callable[[Path], pd.DataFrame]


def with_split(rows: pd.DataFrame, published: PublishedSplit, path: Path) -> pd.DataFrame:
    """Return the rows of the images that a split file names, with its folds and sources.

    Args:
        rows: columns ``image_id`` and ``source``.
        path: of the split file.

    Returns:
        The rows with the column ``fold``, ``train`` or ``test``; a missing ``source`` is the
        file's.

    Raises:
        DataError: the file cannot be used; it names none of the images; or an image has another
            source than the file's.
    """
    split = published.read(path)
    named = rows[rows["image_id"].isin(split.index)]
    if named.empty:
        raise DataError(
            f"{path}: is the split of other images, it names none of these, such as "
            f"{printable(rows['image_id'].iloc[0])}; name the split file of this data set"
        )
    found = split.loc[named["image_id"]]
    centres = pd.Series(found["source"].to_numpy(), index=named.index)
    sources = named["source"].where(named["source"].notna(), centres)
    if (other := sources != centres).any():
        image_id, source = named[other].iloc[0][["image_id", "source"]]
        raise DataError(
            f"{path}: is the split of other images, {printable(image_id)} is from {source} but has "
            f"the centre of {centres[other].iloc[0]}; name the split file of this data set"
        )
    return named.assign(source=sources, fold=found["fold"].to_numpy())
