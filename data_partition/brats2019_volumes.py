"""BraTS2019 as NIfTI volumes: cases, their grades and their splits."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_partition.axial_slices import AxialSlices, SliceChoice
from data_partition.brats2019_names import (
    BRATS2019_CLASSES,
    SPLIT_OF_ROLE,
    grade_of,
    site_of,
    volume_name,
)
from data_partition.errors import DataError
from data_partition.image_files import FoundFile
from data_partition.image_table import ImageTable
from data_partition.label_join import storage
from data_partition.unread_files import SetAside, merge_set_aside

ORACLE = (
    "The slices were chosen by the expert's segmentation, also for test patients: no one has "
    "one of a new patient. slice-choice = brain or all does without"
)

_SEGMENTATION = "seg"


@dataclass(frozen=True)
class Cases:
    """The volumes of a folder.

    Attributes:
        files: for each case its volumes by kind; of copies the first by name.
        set_aside: names of the volumes that are not used, by reason.
    """

    files: Mapping[str, Mapping[str, FoundFile]]
    volumes: Sequence[FoundFile]
    set_aside: SetAside

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
    data_dir: Path,
    cases: Cases,
    modalities: tuple[str, str, str],
    slices_per_patient: int,
    slice_choice: SliceChoice,
    set_aside: SetAside,
    *,
    graded: bool,
) -> ImageTable:
    """Make a table of the cases that can be used.

    Args:
        modalities, slices_per_patient, slice_choice: as for `AxialSlices`.
        set_aside: other files that are not used, by reason.
        graded: whether a case needs a grade, and may be in a split's folder.

    Raises:
        DataError: there is no complete case or no training case, or a case has two grades or two
            splits.
    """
    kinds = (*modalities, _SEGMENTATION) if slice_choice == "tumour" else modalities
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
        slices_per_patient,
        slice_choice,
    )
    rows = [
        (f"{case}-{number:0{len(str(count))}d}", grade, case, site_of(case), str(number))
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
        notices=(ORACLE,) if slice_choice == "tumour" else (),
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
