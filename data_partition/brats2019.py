"""BraTS2019, brain tumours of high and low grade: NIfTI volumes, or slices already cut."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data_partition.assembly import storage
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
from data_partition.left_alone import SetAside, joined, left_alone
from data_partition.other_releases import say_what_else

MODALITIES = ("t1ce", "t2", "flair")
SLICES_PER_PATIENT = 8
SLICE_CHOICE: SliceChoice = "tumour"


def is_brats2019(files: Iterable[FoundFile]) -> bool:
    """Whether files are BraTS2019's, by their names: a case's volumes, or cut slices."""
    return any(is_nifti(file) or is_slice(file) for file in files)


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
    volumes = [file for file in files if is_nifti(file)]
    if volumes:
        others = [file for file in files if is_picture(file)]
        set_aside = joined(
            left_alone(file for file in files if not is_picture(file)),
            {"image beside the volumes, left alone": [file.name for file in others]},
        )
        cases = Cases.find(volumes)
        return volume_table(
            data_dir, cases, modalities, slices_per_patient, slice_choice, set_aside, graded=True
        )
    slices = [file for file in files if is_slice(file)]
    if slices:
        others = [file for file in files if is_picture(file) and not is_slice(file)]
        set_aside = joined(
            {"image outside the folders of splits and grades": [file.name for file in others]},
            left_alone(file for file in files if not is_picture(file)),
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
    cases = Cases.find([file for file in files if is_nifti(file)])
    return volume_table(
        directory,
        cases,
        modalities,
        slices_per_patient,
        slice_choice,
        left_alone(files),
        graded=False,
    )


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
    split, grade = SPLIT_OF_ROLE[file.role], grade_of(file)
    folders = [part.upper() for part in file.parts[:-1]]
    below_grade = file.parts[len(folders) - folders[::-1].index(str(grade)) : -1]
    match = CASE.search(file.name)
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
