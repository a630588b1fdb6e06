"""Reads case, grade, site and split from the names of BraTS2019's files and folders."""

import re

from data_partition.image_files import FoundFile, Role
from data_partition.nifti import NIFTI_SUFFIXES

BRATS2019_CLASSES = ("HGG", "LGG")
SPLIT_OF_ROLE: dict[Role | None, str] = {
    "training": "train",
    "validation": "validation",
    "test": "test",
}

# Every case is one patient: BraTS19_<site>_<id>_1. Cases of earlier years are included.
CASE = re.compile(r"brats1[789]_(?P<site>[a-z0-9]+)_[a-z0-9]+_\d+(?![a-z0-9])", re.IGNORECASE)
VOLUME = re.compile(rf"(?P<case>{CASE.pattern})_(?P<kind>[a-z0-9]+)\.nii(\.gz)?", re.IGNORECASE)

_SLICE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def is_nifti(file: FoundFile) -> bool:
    """Return whether a file is a NIfTI volume."""
    return file.parts[-1].lower().endswith(NIFTI_SUFFIXES) and not file.dangling


def is_picture(file: FoundFile) -> bool:
    """Return whether a file is an image in a format used for slices."""
    return file.suffix in _SLICE_SUFFIXES and not file.dangling


def is_slice(file: FoundFile) -> bool:
    """Return whether a file is an extracted slice: below folders of a split and a grade."""
    return bool(is_picture(file) and file.role in SPLIT_OF_ROLE and grade_of(file))


def volume_name(file: FoundFile) -> re.Match[str] | None:
    """Return case and kind of a volume, from its name or that of a folder with only this file."""
    names = reversed(file.parts[-2:])
    return next((match for name in names if (match := VOLUME.fullmatch(name))), None)


def grade_of(file: FoundFile) -> str | None:
    """Return the class of a file, from the innermost folder named after a class."""
    folders = (part.upper() for part in reversed(file.parts[:-1]))
    return next((folder for folder in folders if folder in BRATS2019_CLASSES), None)


def site_of(case: str) -> str:
    """Return the site in a case's name."""
    return case.split("_")[1]
