"""BraTS2019, brain tumours of high and low grade in MRI, by patient: volumes, or extracted slices.

Menze et al.: The Multimodal Brain Tumor Image Segmentation Benchmark. IEEE TMI 34(10), 2015.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data_partition.brats2019_volumes import (
    BRATS2019_CLASSES,
    CASE,
    ORACLE,
    SPLIT_OF_ROLE,
    Cases,
    grade_of,
    is_nifti,
    is_picture,
    is_slice,
    volume_table,
)
from data_partition.dataset import DataSet, Reading, Study, Synthetic
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, find_files, storage
from data_partition.image_table import ImageTable
from data_partition.synthetic_brats2019 import write_brats2019
from data_partition.unread_files import SetAside, merge_set_aside, say_what_else, unread_files


def is_brats2019(files: Iterable[FoundFile]) -> bool:
    """Return whether files are BraTS2019's, by name: volumes of a case, or extracted slices."""
    return any(is_nifti(file) or is_slice(file) for file in files)


def load_brats2019(
    data_dir: Path,
    reading: Reading = Reading(),  # noqa: B008 - immutable
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
        return volume_table(data_dir, cases, reading, set_aside, graded=True)
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


def load_ungraded(directory: Path, reading: Reading) -> ImageTable:
    """Find cases whose grade is unknown and shall be predicted.

    Folder names need not contain a grade, and ``label`` is None.

    Raises:
        DataError: there is no such folder, or no complete case in it.
    """
    files = find_files(directory)
    cases = Cases.find([file for file in files if is_nifti(file)])
    return volume_table(directory, cases, reading, unread_files(files), graded=False)


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


STUDY_PATIENTS, STUDY_TEST_PATIENTS = 231 + 32, 68
SLICES_PER_VOLUME = 155  # some of them without brain


def _study_images(reading: Reading) -> tuple[int, int]:
    every = reading.slice_choice == "all"
    slices = SLICES_PER_VOLUME if every else reading.slices_per_patient
    return STUDY_PATIENTS * slices, STUDY_TEST_PATIENTS * slices


DATA_SET = DataSet(
    name="brats2019",
    title="BraTS2019",
    classes=BRATS2019_CLASSES,
    # HGG is in the words of the study (docs/study.md); LGG is our choice: a glioblastoma is
    # never of low grade.
    licence="its own terms of use",
    full_names={"HGG": "high grade glioblastoma", "LGG": "low grade glioma"},
    named_first=("HGG",),
    sources=(
        "the site in every file's name (BraTS19_<site>_<id>_1), which some lack; rename those"
    ),
    layouts=("{HGG,LGG}/<case>/ with NIfTI volumes, or {train,valid,test}/{HGG,LGG}/ with slices"),
    is_in=is_brats2019,
    load_training=load_brats2019,
    load_test=None,
    load_unlabelled=load_ungraded,
    sliced=True,
    study=Study(
        batch_size={"classifier": 16, "clip": 16},
        central_shares=(7 / 8, 1 / 8),
        images=_study_images,
    ),
    synthetic=Synthetic(
        unit="patients", default=40, write=write_brats2019, wrote="the volumes of {count} patients"
    ),
    notices=lambda slice_choice: (ORACLE,) if slice_choice == "tumour" else (),
)
