"""A site's client: which settings come from the message, and which from its own site."""

from pathlib import Path
from typing import Any

import joblib
import pytest
import torch

from data_partition.errors import DataError
from fl_client.client import Client
from fl_client.client_setup import check_site, open_client
from tests.support import make_config
from training.config import ExperimentConfig
from training.device import resolve_device
from training.errors import ConfigError, TrainingError

RUN = "0123456789abcdef" * 2


@pytest.fixture
def node_config(tmp_path: Path, synthetic_ham: Path) -> dict[str, Any]:
    """A site whose data folder is its own: all 30 images."""
    return {
        "site": "hospital-b",
        "folder": str(tmp_path / "site"),
        "data-dir": str(synthetic_ham),
        "cache-dir": str(synthetic_ham.parent / "cache"),
        "weights-dir": "",
    }


def open_it(
    node_config: dict[str, Any], config: ExperimentConfig | None = None, **changes: Any
) -> Client:
    config = config or make_config()
    settings = {"experiment": config.to_toml(), "run": RUN, "client-index": 1, **changes}
    threads = torch.get_num_threads()
    try:
        return open_client(settings, node_config)
    finally:
        torch.set_num_threads(threads)


def test_a_site_uses_its_own_folder_whole(node_config: dict[str, Any], tmp_path: Path) -> None:
    client = open_it(node_config)
    assert client.name == "hospital-b"
    assert {name: len(split) for name, split in client.splits.items()} == {
        "train": 18,
        "validation": 6,
        "test": 6,
    }
    assert client.folder == tmp_path / "site" / "runs" / RUN
    assert len(client.fingerprint) == 64
    assert (client.is_site, client.num_classes) == (True, 7)


def test_what_a_killed_client_left_half_written_is_removed(
    node_config: dict[str, Any], tmp_path: Path
) -> None:
    """Also of a round that went on without it, and of the final model, which is as large as one."""
    folder = tmp_path / "site" / "runs" / RUN
    kept = [folder / "local" / "round-00001.safetensors", folder / "predictions-test.csv"]
    left = [folder / "local" / ".round-00002.safetensors.7.tmp", folder / ".tmpb02IHh"]
    (folder / "local").mkdir(parents=True)
    for path in (*kept, *left):
        path.touch()
    open_it(node_config)
    assert {path for path in folder.rglob("*") if path.is_file()} == set(kept)


def test_another_rank_is_another_split(node_config: dict[str, Any]) -> None:
    one, two = (open_it(node_config, **{"client-index": index}) for index in (1, 2))
    assert one.splits["train"].indices.tolist() != two.splits["train"].indices.tolist()
    assert one.fingerprint == two.fingerprint


def test_a_numbered_shard_is_a_simulated_clients(node_config: dict[str, Any]) -> None:
    """Whatever the rank of the site's name."""
    config = make_config(
        data_dir=node_config["data-dir"], cache_dir=node_config["cache-dir"], run_dir="/runs"
    )
    simulated = open_it({"partition-id": 2}, config)
    shard = open_it({**node_config, "partition-id": 2, "num-partitions": 3})
    for name, split in simulated.splits.items():
        assert split.indices.tolist() == shard.splits[name].indices.tolist()
    assert (simulated.name, simulated.is_site) == ("client-2", False)


def test_a_shard_of_another_number_is_refused(node_config: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="hospital-b holds shard 3 of 4, but the run has clients ="):
        open_it({**node_config, "partition-id": 2, "num-partitions": 4})


def test_no_path_of_a_message_counts(node_config: dict[str, Any]) -> None:
    named = dict.fromkeys(("data_dir", "cache_dir", "weights_dir", "run_dir"), "/elsewhere")
    client = open_it(node_config, make_config(test_dir="/elsewhere", **named))
    assert client.config.data_dir == node_config["data-dir"]
    assert client.config.cache_dir == node_config["cache-dir"]
    assert (client.config.test_dir, client.config.run_dir) == ("", "")


def test_the_policy_says_whether_histograms_are_sent(
    node_config: dict[str, Any], tmp_path: Path
) -> None:
    """It is read for each message; a policy of an earlier version does not have the key."""
    policy = tmp_path / "policy.toml"
    told = {**node_config, "policy": str(policy)}
    for text, sent in (("", True), ("histograms = false", False), ("histograms = true", True)):
        policy.write_text(text)
        assert open_it(told).histograms is sent
    assert open_it(node_config).histograms


def test_what_stays_open_is_found_at_the_site(node_config: dict[str, Any]) -> None:
    client = open_it(node_config, make_config().replace(device="auto", threads_per_client=0))
    assert client.config.device == resolve_device("auto")
    assert client.config.threads_per_client == joblib.cpu_count()


def test_a_device_that_the_site_lacks_is_refused(
    node_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.device._accelerator", lambda: "cpu")
    with pytest.raises(ConfigError, match="device = 'cuda': not found on this machine"):
        open_it(node_config, make_config().replace(device="cuda"))


@pytest.mark.parametrize("run", ["", "../../etc", RUN[:-1], RUN + "/x", RUN.upper(), RUN + "\n"])
def test_a_run_that_is_no_name_is_refused(node_config: dict[str, Any], run: str) -> None:
    with pytest.raises(TrainingError, match="is not 32 hex digits"):
        open_it(node_config, run=run)


def test_a_backbone_that_the_site_cannot_build_is_refused(node_config: dict[str, Any]) -> None:
    config = make_config().replace(backbone="timm:resnet19")
    settings = {"experiment": config.to_toml(), "run": RUN, "client-index": 1}
    with pytest.raises(ConfigError, match="timm has no model 'resnet19'"):
        check_site(settings, node_config)


def test_under_pooled_training_the_first_client_has_the_training_images_of_all(
    node_config: dict[str, Any],
) -> None:
    """And of the other splits its own, as every client."""
    folders = {name: node_config[name.replace("_", "-")] for name in ("data_dir", "cache_dir")}
    plain, pooled = (
        [
            open_it({"partition-id": n}, make_config(strategy=name, run_dir="/runs", **folders))
            for n in range(3)
        ]
        for name in ("fedavg", "pooled")
    )
    every = [index for client in plain for index in client.splits["train"].indices.tolist()]
    assert pooled[0].splits["train"].indices.tolist() == sorted(every)
    for one, other in zip(plain, pooled, strict=True):
        for name in ("validation", "test", *(("train",) if one is not plain[0] else ())):
            assert one.splits[name].indices.tolist() == other.splits[name].indices.tolist()
