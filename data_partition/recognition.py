"""Finds out which data set is in a folder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from data_partition.brats2019 import is_brats2019
from data_partition.brats2019_names import BRATS2019_CLASSES
from data_partition.errors import DataError
from data_partition.ham10000 import is_ham10000
from data_partition.image_files import find_files
from data_partition.image_table import HAM10000_CLASSES
from data_partition.other_releases import say_what_else

DataSet = Literal["ham10000", "brats2019"]

CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"ham10000": HAM10000_CLASSES, "brats2019": BRATS2019_CLASSES}
)
"""Class names by data set, in the order of the network's outputs."""


def recognise(data_dir: Path) -> DataSet:
    """Return the data set in a folder, by its file names and the first line of a truth.

    Raises:
        DataError: there is no such folder, or it has neither data set or both.
    """
    files = find_files(data_dir)
    ham10000, brats2019 = is_ham10000(files), is_brats2019(files)
    if ham10000 and brats2019:
        raise DataError(f"{data_dir} holds both HAM10000 and BraTS2019; name the folder of one")
    if not (ham10000 or brats2019):
        raise DataError(
            f"{data_dir} holds no data set that is known: neither HAM10000 (HAM10000_metadata, "
            "ISIC2018_Task3_Training_GroundTruth.csv or train/<class>/ folders) nor BraTS2019 "
            "({HGG,LGG}/<case>/ with NIfTI volumes, or {train,valid,test}/{HGG,LGG}/ with slices)"
            f"{say_what_else(files)}"
        )
    return "ham10000" if ham10000 else "brats2019"
