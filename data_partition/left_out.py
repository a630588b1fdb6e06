"""One source of a release, left out of training: what a network is worth at an unknown hospital."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.errors import DataError
from data_partition.splits import SplitBy, together
from operation.text import printable

_SOURCE_LENGTH = 40  # length of a source's name in an error


def from_source(rows: pd.DataFrame, source: str) -> NDArray[np.bool_]:
    """Return for each of N images whether it is from a source, (N,); of none if it is "".

    Args:
        rows: N rows with the column ``source`` (str or None).
    """
    return (rows["source"] == source).to_numpy(dtype=bool) & bool(source)


def without_source(rows: pd.DataFrame, source: str, *, split_by: SplitBy) -> pd.DataFrame:
    """Return the images that are not from a source; all of them if it is "".

    Args:
        rows: columns ``source``, and those of `together`.
        split_by: with "lesion", images from other sources that show one of its lesions are left out
            too. In HAM10000 some lesions were photographed in two sources.

    Raises:
        DataError: there is no image of this source, or no other. Sources that are missing are left
            to `plan_partition`.
    """
    known = rows["source"].dropna().unique().tolist()
    if not source or rows["source"].isna().any():
        return rows
    named = f"leave-out = {printable(source, _SOURCE_LENGTH)!r}"
    if source not in known:
        listed = ", ".join(printable(name, _SOURCE_LENGTH) for name in sorted(known))
        raise DataError(f"{named}: no such source; there are {listed}")
    if len(known) == 1:
        raise DataError(f"{named}: is the only source, so nothing is left to train on; add others")
    left = from_source(rows, source)
    if split_by == "lesion":
        groups = pd.Series(together(rows), index=rows.index, dtype=object)
        left |= groups.isin(groups[left].dropna()).to_numpy()
        if left.all():
            raise DataError(
                f"{named}: its lesions are all there are, so nothing is left to train on"
            )
    return rows[~left].reset_index(drop=True)
