"""BraTS2019, brain tumours of high and low grade: NIfTI volumes, or slices already cut."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_partition.assembly import storage
from data_partition.axial_slices import AxialSlices, SliceChoice
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, Role, find_files
from data_partition.image_table import ImageTable
from data_partition.left_alone import SetAside, joined, left_alone
from data_partition.nifti import NIFTI_SUFFIXES
from data_partition.other_releases import say_what_else

BRATS2019_CLASSES = ("HGG", "LGG")
MODALITIES = ("t1ce", "t2", "flair")
SLICES_PER_PATIENT = 8

SLICE_CHOICE: SliceChoice = "tumour"
ORACLE = (
    "The slices were chosen by the expert's segmentation, those of test patients too: nobody has "
    "one of a new patient. slice-choice = brain or all does without"
)

_SEGMENTATION = "seg"
_SLICE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_SPLIT_OF_ROLE: dict[Role | None, str] = {
    "training": "train",
    "validation": "validation",
    "test": "test",
}

# Every case is a patient of its own: BraTS19_<site>_<id>_1. Earlier years' cases stayed in.
_CASE = re.compile(r"brats1[789]_(?P<site>[a-z0-9]+)_[a-z0-9]+_\d+(?![a-z0-9])", re.IGNORECASE)
_VOLUME = re.compile(rf"(?P<case>{_CASE.pattern})_(?P<kind>[a-z0-9]+)\.nii(\.gz)?", re.IGNORECASE)


def is_brats2019(files: Iterable[FoundFile]) -> bool:
    """Whether files are BraTS2019's, by their names: a case's volumes, or cut slices."""
    return any(_is_nifti(file) or _is_slice(file) for file in files)


def load_brats2019(
    data_dir: Path,
    *,
    modalities: tuple[str, str, str] = MODALITIES,
    slices_per_patient: int = SLICES_PER_PATIENT,
    slice_choice: SliceChoice = SLICE_CHOICE,
) -> ImageTable:
    """Recognises BraTS2019 by looking at what is there.

    Known are the official release, ``{HGG,LGG}/<case>/<case>_{flair,t1,t1ce,t2,seg}.nii.gz``,
    compressed or not, however deep, also in zip archives, also where a folder bears the name of
    the one file in it; the same divided beforehand, ``{train,valid,test}/{HGG,LGG}/<case>/``; and
    slices already cut and split, ``{train,valid,test}/{HGG,LGG}/*`` as PNG, JPEG or TIFF. Where
    both are there the volumes are taken. Nothing is decoded: whether a volume can be used turns
    out when the image store is built.

    Args:
        data_dir: the folder that holds the data set.
        modalities: what becomes the red, the green and the blue channel; volumes only.
        slices_per_patient: how many slices of each volume, at least 1; volumes only.
        slice_choice: which; see `AxialSlices`; volumes only.

    Returns:
        The slices. ``lesion_id`` is the case and ``source`` its site; None for cut slices whose
        name does not hold the case. Cut slices have a ``split``, and so have those of volumes of
        which some stand in a folder for validation or testing. Cases without a wanted modality, a
        grade or, where it is needed, a segmentation are set aside by name, as are all images that
        are not used.

    Raises:
        DataError: no such folder, nothing of BraTS2019 in it, no case with all that is needed, no
            training slices, or a case in two grades or two splits.
    """
    files = find_files(data_dir)
    volumes = [file for file in files if _is_nifti(file)]
    if volumes:
        others = [file for file in files if _is_picture(file)]
        set_aside = joined(
            left_alone(file for file in files if not _is_picture(file)),
            {"image beside the volumes, left alone": [file.name for file in others]},
        )
        cases = _Cases.find(volumes)
        return _volume_table(
            data_dir, cases, modalities, slices_per_patient, slice_choice, set_aside, graded=True
        )
    slices = [file for file in files if _is_slice(file)]
    if slices:
        others = [file for file in files if _is_picture(file) and not _is_slice(file)]
        set_aside = joined(
            {"image outside the folders of splits and grades": [file.name for file in others]},
            left_alone(file for file in files if not _is_picture(file)),
        )
        return _slice_table(data_dir, slices, set_aside)
    raise DataError(
        f"no BraTS2019 in {data_dir}: found neither {{HGG,LGG}}/<case>/<case>_t1ce.nii.gz and the "
        "like nor {train,valid,test}/{HGG,LGG}/ with PNG, JPEG or TIFF slices"
        f"{say_what_else(files)}"
    )


def load_ungraded(
    directory: Path,
    *,
    modalities: tuple[str, str, str],
    slices_per_patient: int,
    slice_choice: SliceChoice,
) -> ImageTable:
    """Find the cases in a folder whose grade is asked for and not known.

    Arguments as of `load_brats2019`; the folders need no grade in their names, and ``label`` is
    None.

    Raises:
        DataError: no such folder, or no case in it with all that is needed.
    """
    files = find_files(directory)
    cases = _Cases.find([file for file in files if _is_nifti(file)])
    return _volume_table(
        directory,
        cases,
        modalities,
        slices_per_patient,
        slice_choice,
        left_alone(files),
        graded=False,
    )


@dataclass(frozen=True)
class _Cases:
    """The volumes of a folder.

    Attributes:
        files: by case, its volumes by kind; the first of each by name.
        volumes: all of them.
        set_aside: the others.
    """

    files: Mapping[str, Mapping[str, FoundFile]]
    volumes: Sequence[FoundFile]
    set_aside: SetAside

    @classmethod
    def find(cls, volumes: Sequence[FoundFile]) -> "_Cases":
        cases: dict[str, dict[str, FoundFile]] = defaultdict(dict)
        unnamed, copies = [], []
        for file in volumes:
            match = _volume_name(file)
            if match is None:
                unnamed.append(file.name)
            elif file is not cases[match["case"]].setdefault(match["kind"].lower(), file):
                copies.append(file.name)
        set_aside = {"volume not named after a case": unnamed, "duplicate file": copies}
        return cls(dict(sorted(cases.items())), volumes, joined(set_aside))


def _volume_table(
    data_dir: Path,
    cases: _Cases,
    modalities: tuple[str, str, str],
    slices_per_patient: int,
    slice_choice: SliceChoice,
    left: SetAside,
    *,
    graded: bool,
) -> ImageTable:
    kinds = (*modalities, _SEGMENTATION) if slice_choice == "tumour" else modalities
    faults: defaultdict[str, list[str]] = defaultdict(list)
    grades: dict[str, str | None] = {}
    for case, found in cases.files.items():
        missing = [name for name in modalities if name not in found]
        folders = {grade for file in found.values() if (grade := _grade(file))}
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
    set_aside = joined(cases.set_aside, faults, left)
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
        (f"{case}-{number:0{len(str(count))}d}", grade, case, _site(case), str(number))
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
        notices=(ORACLE,) if slice_choice == "tumour" else (),
    )


def _splits(data_dir: Path, cases: _Cases, usable: Iterable[str]) -> dict[str, str]:
    """Return the split of each usable case that stands in a split's folder.

    A folder for training alone divides nothing: then, and where there is none, nothing is returned.

    Raises:
        DataError: a case in two splits, or cases for validation or testing but none for training.
    """
    splits: dict[str, str] = {}
    for case in usable:
        roles = {file.role for file in cases.files[case].values()} & _SPLIT_OF_ROLE.keys()
        found = sorted(_SPLIT_OF_ROLE[role] for role in roles)
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


def _slice_table(data_dir: Path, slices: list[FoundFile], set_aside: SetAside) -> ImageTable:
    rows = pd.DataFrame([_slice_row(file) for file in slices])
    copies = rows["image_id"].duplicated()
    if copies.any():
        names = [file.name for file, copy in zip(slices, copies, strict=True) if copy]
        set_aside = joined(set_aside, {"duplicate file": names})
    rows = rows[~copies].sort_values("image_id", ignore_index=True)
    if "train" not in set(rows["split"]):
        raise DataError(f"{data_dir} has slices of BraTS2019, but none in train/HGG or train/LGG")
    for column, remedy in (("label", "grade"), ("split", "split")):
        values = rows.groupby("lesion_id")[column].unique()
        for case, found in values[values.map(len) > 1].items():
            raise DataError(
                f"case {case} is in both {found[0]} and {found[1]}; all slices of a patient belong "
                f"to one {remedy}: move them"
            )
    return ImageTable(
        rows=rows,
        classes=BRATS2019_CLASSES,
        layout=f"BraTS2019, slices already cut and split ({storage(slices)})",
        set_aside=set_aside,
        grouped_by="patient",
    )


def _slice_row(file: FoundFile) -> dict[str, str | None]:
    split, grade = _SPLIT_OF_ROLE[file.role], _grade(file)
    folders = [part.upper() for part in file.parts[:-1]]
    below_grade = file.parts[len(folders) - folders[::-1].index(str(grade)) : -1]
    match = _CASE.search(file.name)
    return {
        # Slices called 1.png may stand in every folder.
        "image_id": "/".join((split, str(grade), *below_grade, file.stem)),
        "path": file.path,
        "member": file.member,
        "label": grade,
        "lesion_id": match[0] if match else None,
        "source": match["site"] if match else None,
        "split": split,
    }


def _is_nifti(file: FoundFile) -> bool:
    return file.parts[-1].lower().endswith(NIFTI_SUFFIXES) and not file.dangling


def _is_picture(file: FoundFile) -> bool:
    return file.suffix in _SLICE_SUFFIXES and not file.dangling


def _is_slice(file: FoundFile) -> bool:
    return bool(_is_picture(file) and file.role in _SPLIT_OF_ROLE and _grade(file))


def _volume_name(file: FoundFile) -> re.Match[str] | None:
    """The case and the kind of a volume, from its name or that of the folder it stands in alone."""
    names = reversed(file.parts[-2:])
    return next((match for name in names if (match := _VOLUME.fullmatch(name))), None)


def _grade(file: FoundFile) -> str | None:
    """The class of a file by the innermost folder that bears one's name."""
    folders = (part.upper() for part in reversed(file.parts[:-1]))
    return next((folder for folder in folders if folder in BRATS2019_CLASSES), None)


def _site(case: str) -> str:
    return case.split("_")[1]
