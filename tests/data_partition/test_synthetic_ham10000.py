"""The synthetic data set: its layout, its counts, and the same bytes for the same seed."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_partition.errors import DataError
from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.synthetic_ham10000 import (
    TEST_COUNTS,
    TRAINING_COUNTS,
    class_counts,
    write_ham10000,
)
from data_partition.synthetic_lesion import draw_lesion


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("synthetic") / "data"
    write_ham10000(directory, images=90, seed=3)
    return directory


def hashes(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_training_layout(written: Path):
    table = pd.read_csv(written / "HAM10000_metadata.csv")
    assert list(table) == [
        "lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset",
    ]  # fmt: skip
    assert len(table) == 90
    assert table["image_id"].is_unique
    parts = [written / f"HAM10000_images_part_{part}" for part in (1, 2)]
    names = [{path.stem for path in part.iterdir()} for part in parts]
    assert [len(part) for part in names] == [45, 45]
    assert names[0] | names[1] == set(table["image_id"])
    assert set(table["dataset"]) <= {"vidir_molemax", "vidir_modern", "rosendahl", "vienna_dias"}
    assert 0 < table["age"].isna().sum() < 5
    with Image.open(next(parts[0].iterdir())) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (200, 150), "RGB")


def test_some_lesions_have_several_images_and_agree_on_the_diagnosis(written: Path):
    lesions = pd.read_csv(written / "HAM10000_metadata.csv").groupby("lesion_id")
    assert (lesions[["dx", "sex", "dataset"]].nunique() == 1).all(axis=None)
    # 26 % in the mean; of some 65 lesions the standard deviation is 5.5 %.
    assert 0.10 < (lesions.size() > 1).mean() < 0.42


def test_test_set_layout_holds_every_class_and_no_training_image(written: Path):
    truth = pd.read_csv(written / "ISIC2018_Task3_Test_GroundTruth.csv")
    assert list(truth) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    one_hot = truth.drop(columns="image").to_numpy()
    assert (one_hot.sum(axis=1) == 1).all()
    assert (one_hot.sum(axis=0) >= 10).all()
    files = {path.stem for path in (written / "ISIC2018_Task3_Test_Input").iterdir()}
    assert files == set(truth["image"])
    training = pd.read_csv(written / "HAM10000_metadata.csv")["image_id"]
    assert files.isdisjoint(training)


def test_counts_follow_the_proportions():
    # 600 / 10015 of 1113, 1099, 514, 327, 142, 115 is 66.7, 65.8, 30.8, 19.6, 8.5, 6.9; the last
    # two are raised to 12, and nevi take what remains: 600 - 67 - 66 - 31 - 20 - 12 - 12.
    assert class_counts(TRAINING_COUNTS, 600, 12) == {
        "nv": 392, "mel": 67, "bkl": 66, "bcc": 31, "akiec": 20, "vasc": 12, "df": 12,
    }  # fmt: skip
    assert class_counts(TEST_COUNTS, 70, 10) == dict.fromkeys(TEST_COUNTS, 10)


def test_the_least_data_set_still_has_every_class(tmp_path: Path):
    write_ham10000(tmp_path, images=14)
    table = pd.read_csv(tmp_path / "HAM10000_metadata.csv")
    assert set(table["dx"]) == set(HAM10000_CLASSES)


def test_same_seed_same_bytes(written: Path, tmp_path: Path):
    write_ham10000(tmp_path / "again", images=90, seed=3)
    assert hashes(tmp_path / "again") == hashes(written)
    write_ham10000(tmp_path / "other", images=14, seed=4)
    name = "ISIC2018_Task3_Test_GroundTruth.csv"
    assert hashes(tmp_path / "other")[name] != hashes(written)[name]


def test_it_says_that_the_images_are_synthetic(written: Path):
    text = (written / "README.txt").read_text()
    assert "SYNTHETIC" in text
    assert "WORTHLESS FOR MEDICINE" in text


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        write_ham10000(tmp_path / "full", images=14)
    with pytest.raises(DataError, match="13 images are too few"):
        write_ham10000(tmp_path / "few", images=13)
    with pytest.raises(DataError, match="seed -1"):
        write_ham10000(tmp_path / "few", seed=-1)
    with pytest.raises(DataError, match="cannot be written"):
        write_ham10000(tmp_path / "full" / "mine.txt" / "below", images=14)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]


def test_lesion_and_view_both_decide_what_is_drawn():
    def drawn(lesion: int, view: int) -> np.ndarray:
        pixels = draw_lesion(
            "vasc", lesion=np.random.default_rng(lesion), view=np.random.default_rng(view)
        )
        assert pixels.shape == (150, 200, 3)
        return pixels

    assert np.array_equal(drawn(1, 1), drawn(1, 1))
    assert not np.array_equal(drawn(1, 1), drawn(1, 2))
    assert not np.array_equal(drawn(1, 1), drawn(2, 1))
