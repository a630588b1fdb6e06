"""BraTS2019, brain tumours of high and low grade in MRI, by patient.

Menze et al.: The Multimodal Brain Tumor Image Segmentation Benchmark. IEEE TMI 34(10), 2015.
"""

from pathlib import Path

from data_partition.brats2019 import is_brats2019, load_brats2019, load_ungraded
from data_partition.brats2019_names import BRATS2019_CLASSES
from data_partition.brats2019_volumes import ORACLE
from data_partition.dataset import DataSet, Reading, Study, Synthetic
from data_partition.image_table import ImageTable
from data_partition.synthetic_brats2019 import write_brats2019

STUDY_PATIENTS, STUDY_TEST_PATIENTS = 231 + 32, 68
SLICES_PER_VOLUME = 155  # some of them without brain


def _load(data_dir: Path, reading: Reading) -> ImageTable:
    return load_brats2019(
        data_dir,
        modalities=reading.modalities,
        slices_per_patient=reading.slices_per_patient,
        slice_choice=reading.slice_choice,
    )


def _load_ungraded(directory: Path, reading: Reading) -> ImageTable:
    return load_ungraded(
        directory,
        modalities=reading.modalities,
        slices_per_patient=reading.slices_per_patient,
        slice_choice=reading.slice_choice,
    )


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
    full_names={"HGG": "high grade glioblastoma", "LGG": "low grade glioma"},
    named_first=("HGG",),
    group="patient",
    sources=(
        "the site in every file's name (BraTS19_<site>_<id>_1), which some lack; rename those"
    ),
    layouts=("{HGG,LGG}/<case>/ with NIfTI volumes, or {train,valid,test}/{HGG,LGG}/ with slices"),
    is_in=is_brats2019,
    load_training=_load,
    load_test=None,
    load_unlabelled=_load_ungraded,
    sliced=True,
    study=Study(
        batch_size={"classifier": 16, "clip": 16},
        central_shares=(7 / 8, 1 / 8),
        images=_study_images,
    ),
    synthetic=Synthetic(
        unit="patients",
        default=40,
        write=write_brats2019,
        wrote="the volumes of {count} patients",
    ),
    notices=lambda slice_choice: (ORACLE,) if slice_choice == "tumour" else (),
)
