"""The data of one experiment, federated and in one place."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from data_partition.errors import DataError
from data_partition.splits import SPLITS
from tests.data_partition.layouts import write_images
from tests.support import make_config
from training.config import ExperimentConfig
from training.data_description import describe_data
from training.errors import ConfigError
from training.experiment_data import (
    cache_dir,
    open_central_data,
    open_federated_data,
    recognise_dataset,
)


def test_the_clients_splits_are_disjoint_and_cover_the_release(config: ExperimentConfig) -> None:
    data = open_federated_data(config)
    splits = {
        (client, name): data.split(f"client-{client}", name)
        for client in range(3)
        for name in SPLITS
    }
    # 30 images over three clients, each 10 as 6, 2 and 2.
    assert [len(split) for split in splits.values()] == [6, 2, 2] * 3
    rows = np.concatenate([split.indices for split in splits.values()])
    assert sorted(rows) == list(range(30))


def test_the_plan_is_in_the_stores_order(config: ExperimentConfig) -> None:
    data = open_federated_data(config)
    assert data.plan["image_id"].tolist() == data.store.rows["image_id"].tolist()
    split = data.split("client-1", "train")
    chosen = data.plan.iloc[split.indices]
    assert set(chosen["client"]) == {"client-1"}
    assert set(chosen["split"]) == {"train"}
    names = [data.store.classes[label] for label in split.labels[split.indices]]
    assert names == chosen["label"].tolist()


def test_an_unknown_client_holds_nothing(config: ExperimentConfig) -> None:
    assert len(open_federated_data(config).split("client-3", "train")) == 0


def test_settings_reach_the_partition(config: ExperimentConfig) -> None:
    plan = open_federated_data(config).plan
    assert not open_federated_data(config.replace(seed=1)).plan.equals(plan)
    assert set(open_federated_data(config.replace(clients=2)).plan["client"]) == {
        "client-0",
        "client-1",
    }
    by_lesion = open_federated_data(config.replace(split_by="lesion")).plan
    assert (by_lesion.groupby("lesion_id")["client"].nunique() == 1).all()


def test_images_are_stored_at_the_studys_ratio(config: ExperimentConfig) -> None:
    """32 · 256/224 = 36.57, rounded."""
    assert open_federated_data(config).store.images.shape == (30, 37, 37, 3)


def test_a_store_is_built_once(config: ExperimentConfig, tmp_path: Path) -> None:
    fresh, calls = config.replace(cache_dir=str(tmp_path)), []
    for _ in range(2):
        open_federated_data(fresh, lambda done, total: calls.append((done, total)))
    assert calls == [(done, 30) for done in range(1, 31)]


def test_without_a_data_folder_the_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^data-dir = '': name the folder"):
        open_federated_data(make_config())


def test_a_folder_that_is_not_there(config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        open_federated_data(config.replace(data_dir=str(tmp_path / "nowhere")))


def test_copies_are_told_with_where_they_are(config: ExperimentConfig, tmp_path: Path) -> None:
    """Ten images of nv are as many of mel; none of the pairs is split where lesions are kept."""
    names = [f"{number:02}" for number in range(10)]
    write_images(tmp_path / "train" / "nv", names)
    for name in names:
        target = tmp_path / "train" / "mel" / f"m{name}.jpg"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(tmp_path / "train" / "nv" / f"{name}.jpg", target)
    folders = config.replace(data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    described = describe_data(folders, open_federated_data(folders), None)["copies"]
    assert described["groups"] == [(name, f"m{name}") for name in names]
    assert described["contradicting"] == 10
    assert described["straddling"] > 5
    central = describe_data(folders, open_central_data(folders), None)["copies"]
    assert 0 < central["straddling"] < described["straddling"]


def test_a_release_in_one_place(config: ExperimentConfig) -> None:
    """⌊(8 · 30 + 5)/10⌋ = 24 of 30 images are for training."""
    data = open_central_data(config)
    splits = [data.split(name) for name in ("train", "validation")]
    assert [len(split) for split in splits] == [24, 6]
    assert sorted(np.concatenate([split.indices for split in splits])) == list(range(30))
    other = open_central_data(config.replace(seed=1)).split("train")
    assert other.indices.tolist() != splits[0].indices.tolist()


def test_lesions_stay_together_in_one_place_too(config: ExperimentConfig) -> None:
    data = open_central_data(config.replace(split_by="lesion"))
    rows = data.store.rows.assign(split=data.split_names)
    assert (rows.groupby("lesion_id")["split"].nunique() == 1).all()


def test_recognition(config: ExperimentConfig, brats: ExperimentConfig, tmp_path: Path) -> None:
    assert recognise_dataset(config.replace(dataset="auto")).name == "ham10000"
    assert recognise_dataset(brats.replace(dataset="auto")).name == "brats2019"
    # What is named is not looked for.
    assert recognise_dataset(config.replace(dataset="brats2019")).name == "brats2019"
    with pytest.raises(DataError, match="no BraTS2019 in"):
        open_federated_data(config.replace(dataset="brats2019"))
    with pytest.raises(DataError, match="no data set that is known"):
        recognise_dataset(config.replace(dataset="auto", data_dir=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"^data-dir = '': name the folder"):
        recognise_dataset(config.replace(dataset="auto", data_dir=""))


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir(make_config(cache_dir="/somewhere")) == Path("/somewhere")
    assert cache_dir(make_config()) == tmp_path / "xdg" / "fedskin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir(make_config()) == tmp_path / ".cache" / "fedskin"
