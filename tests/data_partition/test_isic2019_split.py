"""The published split of Fed-ISIC2019."""

import os
from pathlib import Path

import pandas as pd
import pytest

from data_partition.check import check_folder
from data_partition.copies import find_overlap
from data_partition.dataset_ham10000 import load_training
from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from data_partition.isic2019_split import SPLIT, read_split
from data_partition.published_split import with_split
from tests.data_partition.layouts import write

HEADER = "image,MEL,NV,target,center,fold,fold2"
LINES = ("a,1.0,0.0,0,0,train,train_0", "b,0.0,1.0,1,4,test,test_4")


@pytest.fixture
def split_file(tmp_path: Path) -> Path:
    return write(tmp_path / "train_test_split.csv", "\n".join([HEADER, *LINES]))


def rows(**sources: str | None) -> pd.DataFrame:
    return pd.DataFrame({"image_id": list(sources), "source": list(sources.values())}, dtype=object)


def test_folds_and_centres_of_the_named_images(split_file: Path) -> None:
    found = with_split(rows(a=None, b="MSK", c="BCN"), SPLIT, split_file)
    assert found.to_dict("list") == {
        "image_id": ["a", "b"],
        "source": ["BCN", "MSK"],
        "fold": ["train", "test"],
    }


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (rows(x="BCN"), "is the split of other images, it names none of these, such as x;"),
        (rows(a="BCN", b="BCN"), "other images, b is from BCN but has the centre of MSK;"),
    ],
)
def test_a_split_of_other_images(split_file: Path, found: pd.DataFrame, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        with_split(found, SPLIT, split_file)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("c,1.0,0.0,0,6,train,train_6", "image c has the center '6'; known are 0 to 5"),
        ("c,1.0,0.0,0,0,valid,valid_0", "image c has the fold 'valid'; known are train and test"),
        ("a,1.0,0.0,0,0,test,test_0", "image a has two rows"),
    ],
)
def test_a_wrong_row(split_file: Path, line: str, complaint: str) -> None:
    write(split_file, "\n".join([HEADER, *LINES, line]))
    with pytest.raises(DataError, match=complaint.replace("'", ".")):
        read_split(split_file)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; name train_test_split\.csv"):
        read_split(tmp_path / "none.csv")


def test_a_data_set_without_a_published_split(tmp_path: Path, split_file: Path) -> None:
    with pytest.raises(DataError, match=r"split-file = .*: BraTS2019 has no published split"):
        check_folder(tmp_path, dataset=find_dataset("brats2019"), split_file=split_file)


REAL = Path(os.environ.get("FEDSKIN_REAL_DATA", ""))
REAL_SPLIT = REAL.parent / "fed-isic2019" / "train_test_split.csv"


@pytest.mark.skipif(
    "FEDSKIN_REAL_DATA" not in os.environ or not REAL_SPLIT.is_file(),
    reason="FEDSKIN_REAL_DATA names no folder of HAM10000 with fed-isic2019/ beside it",
)
def test_the_real_split_divides_lesions() -> None:
    """Of 2,003 test images of HAM10000's sources, 760 show a lesion that is also in training."""
    found = with_split(load_training(REAL).rows, SPLIT, REAL_SPLIT)
    assert len(found) == 10_015
    found = found.assign(files_sha256=None, pixels_sha256=None)  # nothing is decoded
    overlap = find_overlap(found[found["fold"] == "train"], found[found["fold"] == "test"])
    assert (len(overlap), overlap.num_test) == (760, 2003)
    assert overlap.describe()["by_reason"] == {"same lesion": 760}
    of_source = found.set_index("image_id")["source"]
    counts = of_source[list(overlap.matches)].value_counts().to_dict()
    assert counts == {"vidir_modern": 487, "rosendahl": 223, "vienna_dias": 49, "vidir_molemax": 1}
