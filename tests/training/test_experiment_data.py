import shutil
from pathlib import Path

import numpy as np
import pytest

from data_partition.errors import DataError
from data_partition.splits import SPLITS
from tests.support import make_config
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.experiment_data import (
    cache_dir,
    open_federated_data,
    open_test_data,
    whole,
)


@pytest.fixture
def config(synthetic_ham: Path) -> ExperimentConfig:
    """Three clients with ten images each; the store is built by the first test."""
    cache = synthetic_ham.parent / "cache"
    return make_config(data_dir=str(synthetic_ham), cache_dir=str(cache))


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


def test_the_test_set_beside_the_training_set(config: ExperimentConfig) -> None:
    """A third of the images would be ten, but every test set has at least ten of each class."""
    test_data = open_test_data(config)
    assert test_data is not None
    assert len(test_data.labels) == 70
    split = whole(test_data)
    assert split.indices.tolist() == list(range(70))
    assert sorted(set(split.labels)) == list(range(7))
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
    assert len(found.labels) == 70
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no test images"):
        open_test_data(alone.replace(test_dir=str(empty)))


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir(make_config(cache_dir="/somewhere")) == Path("/somewhere")
    assert cache_dir(make_config()) == tmp_path / "xdg" / "fedskin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir(make_config()) == tmp_path / ".cache" / "fedskin"
