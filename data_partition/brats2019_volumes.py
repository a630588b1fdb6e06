"""BraTS2019 as NIfTI volumes: what the names of files and folders say, cases, grades and splits."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_partition.axial_slices import AxialSlices
from data_partition.dataset import Reading
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, Role, storage
from data_partition.image_table import ImageTable
from data_partition.nifti import NIFTI_SUFFIXES
from data_partition.unread_files import SetAside, merge_set_aside

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


ORACLE = (
    "The slices were chosen by the expert's segmentation, also for test patients: no one has "
    "one of a new patient. slice-choice = brain or all does without"
)

_SEGMENTATION = "seg"


@dataclass(frozen=True)
class Cases:
    """The volumes of a folder."""

    # For each case its volumes by kind; of copies the first by name.
    files: Mapping[str, Mapping[str, FoundFile]]
    volumes: Sequence[FoundFile]
    set_aside: SetAside  # names of the volumes that are not used, by reason

    @classmethod
    def find(cls, volumes: Sequence[FoundFile]) -> "Cases":
        """Group volumes by case; copies and volumes without a case in their name are set aside."""
        cases: dict[str, dict[str, FoundFile]] = defaultdict(dict)
        unnamed, copies = [], []
        for file in volumes:
            match = volume_name(file)
            if match is None:
                unnamed.append(file.name)
            elif file is not cases[match["case"]].setdefault(match["kind"].lower(), file):
                copies.append(file.name)
        set_aside = {"volume not named after a case": unnamed, "duplicate file": copies}
        return cls(dict(sorted(cases.items())), volumes, merge_set_aside(set_aside))


def volume_table(
    data_dir: Path, cases: Cases, reading: Reading, set_aside: SetAside, *, graded: bool
) -> ImageTable:
    """Make a table of the cases that can be used.

    Args:
        set_aside: other files that are not used, by reason.
        graded: whether a case needs a grade, and may be in a split's folder.

    Raises:
        DataError: there is no complete case or no training case, or a case has two grades or two
            splits.
    """
    modalities, by_tumour = reading.modalities, reading.slice_choice == "tumour"
    kinds = (*modalities, _SEGMENTATION) if by_tumour else modalities
    faults: defaultdict[str, list[str]] = defaultdict(list)
    grades: dict[str, str | None] = {}
    for case, found in cases.files.items():
        missing = [name for name in modalities if name not in found]
        folders = {grade for file in found.values() if (grade := grade_of(file))}
        if graded and len(folders) > 1:
            raise DataError(f"case {case} is both HGG and LGG; remove it from one of the folders")
        if _SEGMENTATION in kinds and _SEGMENTATION not in found:
            faults["no segmentation, which slice-choice = brain and all do without"].append(case)
        elif missing:
            faults[f"lacks {', '.join(missing)}"].append(case)
        elif graded and not folders:
            faults["neither in a folder HGG nor LGG"].append(case)
        else:
            grades[case] = folders.pop() if graded else None
    splits = _splits(data_dir, cases, grades) if graded else {}
    if splits:
        outside = sorted(grades.keys() - splits.keys())
        faults["outside the folders of the splits"].extend(outside)
        grades = {case: grade for case, grade in grades.items() if case in splits}
    set_aside = merge_set_aside(cases.set_aside, faults, set_aside)
    if not grades:
        reasons = "; ".join(f"{reason}: {names[0]}" for reason, names in set_aside.items())
        raise DataError(
            f"{data_dir} has no case of BraTS2019 that can be used ({reasons or 'no volumes'})"
        )
    reader = AxialSlices(
        modalities,
        {case: tuple(cases.files[case][kind] for kind in kinds) for case in grades},
        reading.slices_per_patient,
        reading.slice_choice,
    )
    rows = [
        (f"{case}-{number:0{len(str(count))}d}", grade, case, case.split("_")[1], str(number))
        for case, grade in grades.items()
        for count in [reader.num_slices(case)]
        for number in range(1, count + 1)
    ]
    table = pd.DataFrame(rows, columns=["image_id", "label", "lesion_id", "source", "slice"])
    if splits:
        table["split"] = table["lesion_id"].map(splits)
    divided = ", divided into splits" if splits else ""
    return ImageTable(
        rows=table.sort_values("image_id", ignore_index=True),
        classes=BRATS2019_CLASSES,
        layout=f"BraTS2019, NIfTI volumes ({storage(cases.volumes)}){divided}, {reader.settings}",
        set_aside=set_aside,
        reader=reader,
        grouped_by="patient",
        sliced=True,
        notices=(ORACLE,) if by_tumour else (),
    )


def _splits(data_dir: Path, cases: Cases, usable: Iterable[str]) -> dict[str, str]:
    """Return the split of each usable case that is in a split's folder.

    The result is empty if there is no such folder, or only one for training.
    """
    splits: dict[str, str] = {}
    for case in usable:
        roles = {file.role for file in cases.files[case].values()} & SPLIT_OF_ROLE.keys()
        found = sorted(SPLIT_OF_ROLE[role] for role in roles)
        if len(found) > 1:
            raise DataError(
                f"case {case} is in both {found[0]} and {found[1]}; all volumes of a patient "
                "belong to one split: move them"
            )
        if found:
            splits[case] = found[0]
    named = set(splits.values())
    if not named & {"validation", "test"}:
        return {}
    if "train" not in named:
        raise DataError(
            f"{data_dir} has cases of BraTS2019 in folders of splits, but none in train/HGG or "
            "train/LGG"
        )
    return splits
