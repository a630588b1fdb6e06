"""Tiny BraTS2019 cases in the layouts that BraTS2019 is published in."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import ArrayLike

from tests.data_partition.layouts import picture, write

HIGH, LOW = "BraTS19_CBICA_AAB_1", "BraTS19_2013_0_1"
KINDS = ("flair", "t1", "t1ce", "t2", "seg")


RELEASE = "MICCAI_BraTS_2019_Data_Training"


def nifti(voxels: ArrayLike, dtype: type = np.int16) -> bytes:
    """An uncompressed NIfTI file."""
    return nibabel.Nifti1Image(np.asarray(voxels, dtype=dtype), np.eye(4)).to_bytes()


def draw(case: str, shape: tuple[int, int, int] = (12, 10, 16)) -> dict[str, np.ndarray]:
    """All brain except a border of one voxel, the tumour in the slices 4 … 11, two voxels each."""
    generator = np.random.default_rng(list(case.encode()))
    volumes = {}
    for kind in KINDS[:-1]:
        volumes[kind] = np.zeros(shape, dtype=np.int16)
        volumes[kind][1:-1, 1:-1] = generator.integers(100, 900, (shape[0] - 2, shape[1] - 2, 1))
    volumes["seg"] = np.zeros(shape, dtype=np.int16)
    volumes["seg"][3:5, 3, 4:12] = (4, 1, 2, 2, 4, 1, 2, 2)
    return volumes


def write_case(
    folder: Path, case: str, kinds: Iterable[str] = KINDS, suffix: str = ".nii.gz"
) -> Path:
    """Writes ``<folder>/<case>/<case>_<kind>.nii.gz`` and returns the case's folder."""
    volumes = draw(case)
    (folder / case).mkdir(parents=True)
    for kind in kinds:
        image = nibabel.Nifti1Image(volumes[kind], np.eye(4))
        nibabel.save(image, folder / case / f"{case}_{kind}{suffix}")
    return folder / case


def touch_cases(folder: Path, cases: Mapping[str, str], kinds: Iterable[str] = KINDS) -> Path:
    """Lays out the release of cases, by name with their grade, with empty files."""
    for case, grade in cases.items():
        case_folder = folder / RELEASE / grade / case
        case_folder.mkdir(parents=True)
        for kind in kinds:
            (case_folder / f"{case}_{kind}.nii.gz").touch()
    return folder


def study_cases() -> dict[str, str]:
    """The study's 255 patients with high-grade and 76 with low-grade gliomas, at three sites."""
    return {
        f"BraTS19_{('2013', 'CBICA', 'TCIA01')[i % 3]}_{i:03d}_1": "HGG" if i < 255 else "LGG"
        for i in range(331)
    }


def write_slices(folder: Path, *names: str) -> Path:
    for name in names:
        kind = {"png": "PNG", "tif": "TIFF"}.get(name.rsplit(".")[-1].lower(), "JPEG")
        write(folder / name, picture(name, kind))
    return folder
