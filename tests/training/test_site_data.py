"""A site's own images, and the coordinator's test set."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_partition.errors import DataError
from data_partition.splits import SPLITS, split_client
from tests.data_partition.layouts import write_images
from tests.support import make_config
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.release import open_training
from training.site_data import open_own_data, open_test_dir


def test_the_whole_folder_is_cut_by_the_clients_index(config: ExperimentConfig) -> None:
    """30 images as 18, 6 and 6, by the very function that cuts a simulated client's share."""
    for index in (0, 2):
        data = open_own_data(config, index)
        splits = [data.split(name).indices for name in SPLITS]
        assert [len(split) for split in splits] == [18, 6, 6]
        assert sorted(np.concatenate(splits)) == list(range(30))
        rows = data.store.rows
        expected = split_client(
            rows["image_id"].tolist(), [None] * 30, seed=0, client_index=index, split_by="image"
        )
        assert data.split_names.tolist() == expected.tolist()
    first, third = open_own_data(config, 0), open_own_data(config, 2)
    assert first.split_names.tolist() != third.split_names.tolist()


@pytest.mark.parametrize("asked", [{"split_by": "lesion"}, {"split": "lesion-clean"}])
def test_lesions_stay_together_where_asked(config: ExperimentConfig, asked: dict[str, str]) -> None:
    data = open_own_data(config.replace(**asked), 0)
    table = pd.DataFrame({"lesion": data.store.rows["lesion_id"], "split": data.split_names})
    assert (table.groupby("lesion")["split"].nunique() == 1).all()


def test_lesions_that_nobody_knows_are_told(tmp_path: Path) -> None:
    names = [f"train/nv/{number}" for number in range(6)]
    write_images(tmp_path / "data", names)
    config = make_config(
        data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path), split_by="lesion"
    )
    with pytest.raises(DataError, match=r"needs lesion ids, which .*data does not have; use split"):
        open_own_data(config, 0)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    """Of two images, 60 % are one."""
    write_images(tmp_path / "data", ["train/nv/1", "train/nv/2"])
    config = make_config(data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path))
    with pytest.raises(DataError, match="leaves 1 training images, but at least 2 are needed"):
        open_own_data(config, 0)


def test_patients_stay_together(synthetic_brats: Path, tmp_path: Path) -> None:
    """All 48 patients are the site's own, none is set apart for a global test."""
    config = make_config(
        data_dir=str(synthetic_brats), cache_dir=str(tmp_path), image_size=32
    ).replace(dataset="brats2019", split_by="lesion", slices_per_patient=2)
    data = open_own_data(config, 1)
    table = pd.DataFrame({"patient": data.store.rows["lesion_id"], "split": data.split_names})
    assert table["patient"].nunique() == 48
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    assert set(table["split"]) == set(SPLITS)
    assert data.split("train").patients is not None


def test_another_data_set_than_the_runs_is_refused(config: ExperimentConfig) -> None:
    with pytest.raises(DataError, match="no BraTS2019 in "):
        open_own_data(config.replace(dataset="brats2019"), 0)
    with pytest.raises(ConfigError, match="data-dir = ''"):
        open_own_data(config.replace(data_dir=""), 0)


def test_the_test_set_needs_no_training_images(config: ExperimentConfig) -> None:
    alone = config.replace(data_dir="", test_dir=config.data_dir)
    found = open_test_dir(alone)
    assert found is not None
    assert len(found.split) == len(found.rows) == 70
    assert found.classes == open_training(config).classes
    assert open_test_dir(config) is None
    training = Path(config.data_dir) / "HAM10000_images_part_1"
    with pytest.raises(DataError, match="15 test images but no labels for them"):
        open_test_dir(config.replace(test_dir=str(training)))


def test_patients_that_come_divided_keep_their_folders(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for grade in ("HGG", "LGG"):
            names = [f"BraTS19_{split}_{grade}{n}_1-{k}" for n in range(2) for k in range(2)]
            write_images(tmp_path / "data" / split / grade, names, ".png")
    config = make_config(data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path))
    data = open_own_data(config.replace(dataset="brats2019", split_by="lesion"), 0)
    expected = {"train": "train", "valid": "validation", "test": "test"}
    assert data.split_names.tolist() == [expected[s] for s in data.store.rows["source"]]


def test_images_for_testing_are_named_as_left_alone(config: ExperimentConfig) -> None:
    [(reason, names)] = open_own_data(config, 0).store.set_aside.items()
    assert reason == "image in a folder for testing, left alone: other images are the test set"
    assert len(names) == 70
