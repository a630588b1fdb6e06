"""The test set beside the training set, and test images that are in both."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from data_partition.errors import DataError
from tests.data_partition.layouts import write_images
from training.config import ExperimentConfig
from training.data_description import describe_data
from training.experiment_data import open_central_data, open_federated_data, open_test_data


def test_the_test_set_beside_the_training_set(config: ExperimentConfig) -> None:
    """A third of the images would be ten, but every test set has at least ten of each class."""
    test_data = open_test_data(config)
    assert test_data is not None
    assert len(test_data.split) == len(test_data.rows) == 70
    assert test_data.split.indices.tolist() == list(range(70))
    assert sorted(set(test_data.split.labels)) == list(range(7))
    assert test_data.split.patients is None
    assert len(test_data.rows) == 70
    training = open_federated_data(config).store
    assert not set(test_data.rows["image_id"]) & set(training.rows["image_id"])


def test_without_a_test_set_there_is_none(config: ExperimentConfig, tmp_path: Path) -> None:
    data_dir = tmp_path / "ham"
    shutil.copytree(
        config.data_dir, data_dir, ignore=shutil.ignore_patterns("ISIC2018_Task3_Test*")
    )
    alone = config.replace(data_dir=str(data_dir))
    assert open_test_data(alone) is None
    assert len(open_federated_data(alone).store.labels) == 30
    # Named elsewhere it is found, and must be there.
    elsewhere = alone.replace(test_dir=config.data_dir)
    found = open_test_data(elsewhere)
    assert found is not None
    assert len(found.split) == 70
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no test images"):
        open_test_data(alone.replace(test_dir=str(empty)))


def test_test_images_in_training_are_refused_unless_allowed(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """One is a copy by its file, one shows a lesion of the training set."""
    data_dir = tmp_path / "ham"
    shutil.copytree(config.data_dir, data_dir)
    copied = next(data_dir.glob("HAM10000_images*/*.jpg"))
    target, other = sorted(data_dir.glob("ISIC2018_Task3_Test_Input/*.jpg"))[:2]
    shutil.copyfile(copied, target)
    twice = config.replace(data_dir=str(data_dir), cache_dir=str(tmp_path))
    allowed = open_test_data(twice.replace(allow_overlap=True))
    with pytest.raises(DataError, match=f"1 of 70 .*{target.stem}: same file as {copied.stem}"):
        open_test_data(twice)
    assert allowed is not None
    assert allowed.overlap is not None
    assert list(allowed.overlap.matches) == [target.stem]
    # The challenge's truth names no lesions; as Dataverse publishes it, it does.
    assert not allowed.overlap.lesions_known
    lesions = pd.read_csv(data_dir / "HAM10000_metadata.csv").set_index("image_id")["lesion_id"]
    truth = allowed.rows[["image_id", "label"]].rename(columns={"label": "dx"})
    truth["lesion_id"] = [f"other {number}" for number in range(len(truth))]
    truth.loc[truth["image_id"] == other.stem, "lesion_id"] = lesions[copied.stem]
    [path] = data_dir.rglob("ISIC2018_Task3_Test_GroundTruth.csv")
    truth.to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"2 of 70 .*{other.stem}: same lesion as "):
        open_test_data(twice)


def test_the_training_folder_is_no_test_set(config: ExperimentConfig, tmp_path: Path) -> None:
    """The same images in a second folder without a telling name."""
    for folder in ("data", "judged"):
        write_images(tmp_path / folder / "nv", [str(number) for number in range(4)])
    same = config.replace(
        data_dir=str(tmp_path / "data"),
        test_dir=str(tmp_path / "judged"),
        cache_dir=str(tmp_path),
        allow_overlap=True,
    )
    data, test_data = open_central_data(same), open_test_data(same)
    assert test_data is not None
    found = describe_data(same, data, test_data)
    assert found["overlap"]["by_reason"] == {"same id": 4}
    assert (found["images"], found["test_images"]) == (4, 4)
