"""BraTS2019, brain tumours of high and low grade: NIfTI volumes, or slices already cut."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data_partition.assembly import storage
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, Role, find_files
from data_partition.image_table import ImageTable
from data_partition.nifti import NIFTI_SUFFIXES
from data_partition.tumour_slices import TumourSlices

BRATS2019_CLASSES = ("HGG", "LGG")
MODALITIES = ("t1ce", "t2", "flair")
SLICES_PER_PATIENT = 8

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
) -> ImageTable:
    """Recognises BraTS2019 by looking at what is there.

    Known are the official release, ``{HGG,LGG}/<case>/<case>_{flair,t1,t1ce,t2,seg}.nii.gz``,
    compressed or not, however deep, also in zip archives, also where a folder bears the name of
    the one file in it; and slices already cut and split, ``{train,valid,test}/{HGG,LGG}/*`` as
    PNG, JPEG or TIFF. Where both are there the volumes are taken. Nothing is decoded: whether a
    volume can be used turns out when the image store is built.

    Args:
        data_dir: the folder that holds the data set.
        modalities: what becomes the red, the green and the blue channel; volumes only.
        slices_per_patient: how many slices of each volume, at least 1; volumes only.

    Returns:
        The slices. ``lesion_id`` is the case and ``source`` its site; None for cut slices whose
        name does not hold the case. Cut slices have a ``split``. Cases without a segmentation, a
        wanted modality or a grade are set aside by name.

    Raises:
        DataError: no such folder, nothing of BraTS2019 in it, no case with all that is needed, no
            training slices, or a case in two grades or two splits.
    """
    files = find_files(data_dir)
    volumes = [file for file in files if _is_nifti(file)]
    if volumes:
        return _volume_table(data_dir, volumes, modalities, slices_per_patient, graded=True)
    slices = [file for file in files if _is_slice(file)]
    if slices:
        others = [
            file.name for file in files if file.suffix in _SLICE_SUFFIXES and not _is_slice(file)
        ]
        return _slice_table(data_dir, slices, others)
    raise DataError(
        f"no BraTS2019 in {data_dir}: found neither {{HGG,LGG}}/<case>/<case>_t1ce.nii.gz and the "
        "like nor {train,valid,test}/{HGG,LGG}/ with PNG, JPEG or TIFF slices"
    )


def load_ungraded(
    directory: Path, *, modalities: tuple[str, str, str], slices_per_patient: int
) -> ImageTable:
    """Find the cases in a folder whose grade is asked for and not known.

    Arguments as of `load_brats2019`; the folders need no grade in their names, and ``label`` is
    None.

    Raises:
        DataError: no such folder, or no case in it with all that is needed.
    """
    volumes = [file for file in find_files(directory) if _is_nifti(file)]
    return _volume_table(directory, volumes, modalities, slices_per_patient, graded=False)


def _volume_table(
    data_dir: Path,
    volumes: list[FoundFile],
    modalities: tuple[str, str, str],
    slices_per_patient: int,
    *,
    graded: bool,
) -> ImageTable:
    cases: dict[str, dict[str, FoundFile]] = defaultdict(dict)
    set_aside: dict[str, list[str]] = defaultdict(list)
    for file in volumes:
        match = _volume_name(file)
        if match is None:
            set_aside["volume not named after a case"].append(file.name)
        elif file is not cases[match["case"]].setdefault(match["kind"].lower(), file):
            set_aside["duplicate file"].append(file.name)
    grades: dict[str, str | None] = {}
    for case, found in sorted(cases.items()):
        missing = [name for name in modalities if name not in found]
        folders = {grade for file in found.values() if (grade := _grade(file))}
        if graded and len(folders) > 1:
            raise DataError(f"case {case} is both HGG and LGG; remove it from one of the folders")
        if _SEGMENTATION not in found:
            set_aside["no segmentation"].append(case)
        elif missing:
            set_aside[f"lacks {', '.join(missing)}"].append(case)
        elif graded and not folders:
            set_aside["neither in a folder HGG nor LGG"].append(case)
        else:
            grades[case] = folders.pop() if graded else None
    if not grades:
        reasons = "; ".join(f"{reason}: {names[0]}" for reason, names in set_aside.items())
        raise DataError(
            f"{data_dir} has no case of BraTS2019 that can be used ({reasons or 'no volumes'})"
        )
    reader = TumourSlices(
        modalities,
        {
            case: tuple(cases[case][kind] for kind in (*modalities, _SEGMENTATION))
            for case in grades
        },
        slices_per_patient,
    )
    numbers = range(1, slices_per_patient + 1)
    width = len(str(slices_per_patient))
    rows = pd.DataFrame(
        [
            (f"{case}-{number:0{width}d}", grade, case, _site(case), str(number))
            for case, grade in grades.items()
            for number in numbers
        ],
        columns=["image_id", "label", "lesion_id", "source", "slice"],
    )
    return ImageTable(
        rows=rows.sort_values("image_id", ignore_index=True),
        classes=BRATS2019_CLASSES,
        layout=f"BraTS2019, NIfTI volumes ({storage(volumes)}), {reader.settings}",
        set_aside={reason: tuple(names) for reason, names in set_aside.items()},
        reader=reader,
        grouped_by="patient",
    )


def _slice_table(data_dir: Path, slices: list[FoundFile], others: list[str]) -> ImageTable:
    set_aside = {"image outside the folders of splits and grades": tuple(others)} if others else {}
    rows = pd.DataFrame([_slice_row(file) for file in slices])
    copies = rows["image_id"].duplicated()
    if copies.any():
        set_aside["duplicate file"] = tuple(
            file.name for file, copy in zip(slices, copies, strict=True) if copy
        )
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
    return file.parts[-1].lower().endswith(NIFTI_SUFFIXES)


def _is_slice(file: FoundFile) -> bool:
    return bool(file.suffix in _SLICE_SUFFIXES and file.role and _grade(file))


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
