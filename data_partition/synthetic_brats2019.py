"""Synthetic brain volumes in BraTS2019's layout, to try the system without patients' images."""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from data_partition.errors import DataError
from data_partition.synthetic_folder import in_parallel, new_folder

SHAPE = (48, 48, 24)
# As in BraTS, the axes point to the patient's left, to the back and up; millimetres per voxel.
AFFINE = np.diag([-5.0, -5.0, 6.5, 1.0])
SITES = ("2013", "CBICA", "TCIA01", "TMC")
RELEASE = "MICCAI_BraTS_2019_Data_Training"
LEAST_PATIENTS, LEAST_PER_GRADE = 10, 5
# LGG's share of the 335 cases of the real release.
LGG_SHARE = 76 / 335

# Labels of a segmentation.
CORE, OEDEMA, RIM = 1, 2, 4

README = """\
Every volume in this folder was drawn by a program (fedskin data synth). No patient, no scanner and
no physician was involved. The "tumours" only look different enough for a network to tell the grades
apart, so that a federated training can be tried and tested. They say nothing about real brains, and
results on them say nothing about real use.

The folder is laid out like the training release of BraTS 2019, with the same names, modalities
and labels, but the volumes have 48x48x24 voxels where the real ones have 240x240x155.
Sites and case numbers are invented.
"""


@dataclass(frozen=True)
class Brightness:
    """Brightness of tissues in one modality, as a multiple of healthy brain."""

    core: float
    oedema: float
    rim: float


CONTRASTS = {
    "flair": Brightness(core=1.1, oedema=1.7, rim=1.5),
    "t1": Brightness(core=0.6, oedema=0.8, rim=0.85),
    "t1ce": Brightness(core=0.6, oedema=0.8, rim=2.0),
    "t2": Brightness(core=1.8, oedema=1.6, rim=1.4),
}


def write_brats2019(directory: Path, patients: int = 40, seed: int = 0) -> None:
    """Write volumes of four modalities and a segmentation for every patient.

    The proportion of high and low grade is that of the real release, but there are at least five of
    each. There are four sites, and all occur. High-grade tumours have a dark core and a rim that
    takes up contrast agent; low-grade tumours have neither. A seed always gives the same bytes. The
    folder is written completely or not at all.

    Args:
        directory: the folder to write; it may exist if it is empty.
        patients: at least 10.

    Raises:
        DataError: ``directory`` is not empty or cannot be written, or ``patients`` or ``seed`` is
            too small.
    """
    if patients < LEAST_PATIENTS:
        raise DataError(f"{patients} patients are too few; ask for {LEAST_PATIENTS}")
    with new_folder(directory, README, seed=seed) as building:
        generator = np.random.default_rng([seed, 0])
        num_low = max(LEAST_PER_GRADE, round(patients * LGG_SHARE))
        grades = ["LGG"] * num_low + ["HGG"] * (patients - num_low)
        # Every site gets its share of each grade.
        sites = generator.permutation(SITES).tolist()

        def write(index: int) -> None:
            case = f"BraTS19_{sites[index % len(sites)]}_{index + 1:03d}_1"
            folder = building / RELEASE / grades[index] / case
            folder.mkdir(parents=True)
            volumes = draw_volumes(grades[index], np.random.default_rng([seed, 1, index]))
            for kind, voxels in volumes.items():
                image = nibabel.Nifti1Image(voxels, AFFINE)
                nibabel.save(image, folder / f"{case}_{kind}.nii.gz")

        in_parallel(write, patients)


def draw_volumes(grade: str, generator: np.random.Generator) -> dict[str, NDArray[np.int16]]:
    """Draw one patient.

    Args:
        grade: HGG or LGG.

    Returns:
        ``flair``, ``t1``, ``t1ce``, ``t2`` and ``seg`` (0, 1, 2, 4), each of `SHAPE`.
    """
    # Positions in half widths of the volume.
    axes = [(np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1 for size in SHAPE]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))
    radii = generator.uniform((0.72, 0.82, 0.8), (0.8, 0.9, 0.88))
    brain = _distance(place, np.zeros(3), radii) < 1

    centre = generator.uniform(-0.32, 0.32, size=3)
    # Taller than wide, so that for most tumours the eight slices are all different.
    size = generator.uniform(0.26, 0.42) * generator.uniform((0.85, 0.85, 1.4), (1.15, 1.15, 1.7))
    bumps = 0.12 * _waves(place, generator)
    depth = _distance(place, centre, size) + bumps
    segmentation = np.where(brain & (depth < 1), OEDEMA, 0)
    core = brain & (depth < 0.55)
    segmentation[core] = CORE
    if grade == "HGG":
        segmentation[core & (depth > 0.3)] = RIM

    volumes = {"seg": segmentation.astype(np.int16)}
    folds = 1 + 0.1 * _waves(place, generator)
    for name, contrast in CONTRASTS.items():
        tissue = folds.copy()
        tissue[segmentation == OEDEMA] *= contrast.oedema
        # A core without a rim is tumour, not dead tissue, and only a little darker.
        tissue[segmentation == CORE] *= contrast.core if grade == "HGG" else contrast.oedema
        tissue[segmentation == RIM] *= contrast.rim
        # MRI has no unit: the values of one scanner are several times those of another.
        gain = generator.uniform(200, 900)
        noise = generator.normal(0, 0.06, SHAPE)
        volumes[name] = np.where(brain, np.maximum(gain * (tissue + noise), 1), 0).astype(np.int16)
    return volumes


def _distance(place: NDArray, centre: NDArray, radii: NDArray) -> NDArray:
    """Return each position's distance from a centre, scaled so that it is 1 on the ellipsoid."""
    steps = (place - centre[:, None, None, None]) / radii[:, None, None, None]
    return np.sqrt((steps**2).sum(axis=0))


def _waves(place: NDArray, generator: np.random.Generator) -> NDArray:
    """Return a smooth random field of unit variance."""
    num_waves = 6
    directions = generator.normal(0, 5, size=(num_waves, 3))
    phases = generator.uniform(0, 2 * np.pi, size=num_waves)
    angles = np.tensordot(directions, place, axes=1) + phases[:, None, None, None]
    return np.cos(angles).sum(axis=0) * np.sqrt(2 / num_waves)
