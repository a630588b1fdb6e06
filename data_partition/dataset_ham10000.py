"""HAM10000, dermatoscopic images of skin lesions, with the ISIC challenge 2018's test set.

Tschandl, Rosendahl, Kittler: The HAM10000 dataset. Scientific Data 5:180161, 2018. Its licence is
CC BY-NC 4.0.
"""

from pathlib import Path

from data_partition.dataset import DataSet, Reading, Study, Synthetic
from data_partition.ham10000 import is_ham10000, load_training
from data_partition.ham10000_names import FULL_NAMES, HAM10000_CLASSES
from data_partition.image_table import ImageTable
from data_partition.isic2018 import load_test
from data_partition.synthetic import write_ham10000

STUDY_IMAGES, STUDY_TEST_IMAGES = 10_015, 1_512


def _load(data_dir: Path, reading: Reading) -> ImageTable:
    return load_training(data_dir, tests_in=reading.tests_in)


DATA_SET = DataSet(
    name="ham10000",
    title="HAM10000",
    classes=HAM10000_CLASSES,
    full_names=FULL_NAMES,
    named_first=("mel",),
    group="lesion",
    sources=(
        "the metadata's column dataset, which is missing or has gaps; get the newer "
        "HAM10000_metadata"
    ),
    layouts="HAM10000_metadata, ISIC2018_Task3_Training_GroundTruth.csv or train/<class>/ folders",
    is_in=is_ham10000,
    load_training=_load,
    load_test=load_test,
    study=Study(
        batch_size={"classifier": 32, "clip": 16},
        images=lambda _: (STUDY_IMAGES, STUDY_TEST_IMAGES),
    ),
    synthetic=Synthetic(
        unit="images",
        default=600,
        write=write_ham10000,
        wrote="{count} training images and a test set",
    ),
)
