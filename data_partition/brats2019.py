"""BraTS2019, brain tumours of high and low grade: NIfTI volumes, or slices already extracted."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data_partition.axial_slices import SliceChoice
from data_partition.brats2019_names import (
    BRATS2019_CLASSES,
    CASE,
    SPLIT_OF_ROLE,
    grade_of,
    is_nifti,
    is_picture,
    is_slice,
)
from data_partition.brats2019_volumes import Cases, volume_table
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, find_files
from data_partition.image_table import ImageTable
from data_partition.label_join import storage
from data_partition.other_releases import say_what_else
from data_partition.unread_files import SetAside, merge_set_aside, unread_files

MODALITIES = ("t1ce", "t2", "flair")
SLICES_PER_PATIENT = 8
SLICE_CHOICE: SliceChoice = "tumour"


def is_brats2019(files: Iterable[FoundFile]) -> bool:
    """Return whether files are BraTS2019's, by name: volumes of a case, or extracted slices."""
    return any(is_nifti(file) or is_slice(file) for file in files)


def load_brats2019(
    data_dir: Path,
    *,
    modalities: tuple[str, str, str] = MODALITIES,
    slices_per_patient: int = SLICES_PER_PATIENT,
    slice_choice: SliceChoice = SLICE_CHOICE,
) -> ImageTable:
    """Find the images of BraTS2019 in a folder and return them as a table.

    Three layouts are read. The official release:
    ``{HGG,LGG}/<case>/<case>_{flair,t1,t1ce,t2,seg}.nii.gz``, compressed or not, at any depth, also
    in zip archives, also with each file in a folder of its own name. The same, already split:
    ``{train,valid,test}/{HGG,LGG}/<case>/``. Slices already extracted and split:
    ``{train,valid,test}/{HGG,LGG}/*`` as PNG, JPEG or TIFF. If there are volumes and slices, the
    volumes are used. Nothing is decoded; unusable volumes are found when the image store is built.

    Returns:
        The slices. ``lesion_id`` is the case and ``source`` its site; both are None for extracted
        slices whose name does not contain the case. Extracted slices have a ``split``. Volumes have
        one if some of them are in a folder for validation or testing. Cases without a wanted
        modality, a grade or (if needed) a segmentation are set aside by name, as are all unused
        images.

    Raises:
        DataError: there is no such folder, no BraTS2019 in it, no complete case, or no training
            slice; or a case has two grades or two splits.
    """
    files = find_files(data_dir)
    volumes = [file for file in files if is_nifti(file)]
    if volumes:
        others = [file for file in files if is_picture(file)]
        set_aside = merge_set_aside(
            unread_files(file for file in files if not is_picture(file)),
            {"image beside the volumes, left alone": [file.name for file in others]},
        )
        cases = Cases.find(volumes)
        return volume_table(
            data_dir, cases, modalities, slices_per_patient, slice_choice, set_aside, graded=True
        )
    slices = [file for file in files if is_slice(file)]
    if slices:
        others = [file for file in files if is_picture(file) and not is_slice(file)]
        set_aside = merge_set_aside(
            {"image outside the folders of splits and grades": [file.name for file in others]},
            unread_files(file for file in files if not is_picture(file)),
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
    """Find cases whose grade is unknown and shall be predicted.

    Arguments as for `load_brats2019`. Folder names need not contain a grade, and ``label`` is None.

    Raises:
        DataError: there is no such folder, or no complete case in it.
    """
    files = find_files(directory)
    cases = Cases.find([file for file in files if is_nifti(file)])
    return volume_table(
        directory,
        cases,
        modalities,
        slices_per_patient,
        slice_choice,
        unread_files(files),
        graded=False,
    )


def _slice_table(data_dir: Path, slices: list[FoundFile], set_aside: SetAside) -> ImageTable:
    rows = pd.DataFrame([_slice_row(file) for file in slices])
    copies = rows["image_id"].duplicated()
    if copies.any():
        names = [file.name for file, copy in zip(slices, copies, strict=True) if copy]
        set_aside = merge_set_aside(set_aside, {"duplicate file": names})
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
        sliced=True,
    )


def _slice_row(file: FoundFile) -> dict[str, str | None]:
    split, grade = SPLIT_OF_ROLE[file.role], grade_of(file)
    folders = [part.upper() for part in file.parts[:-1]]
    below_grade = file.parts[len(folders) - folders[::-1].index(str(grade)) : -1]
    match = CASE.search(file.name)
    return {
        # Every folder may have a slice called 1.png.
        "image_id": "/".join((split, str(grade), *below_grade, file.stem)),
        "path": file.path,
        "member": file.member,
        "label": grade,
        "lesion_id": match[0] if match else None,
        "source": match["site"] if match else None,
        "split": split,
    }
