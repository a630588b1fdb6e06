"""Configs made ready for sites."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from data_partition.datasets import dataset_choice
from fl_server import federated_config
from fl_server.federated_config import for_server, for_sites, prepare_deployed, prepare_simulated
from training.config import PATH_KEYS, ExperimentConfig, parse
from training.errors import ConfigError
from training.preparation import prepare_centralized


def wanted(**changes: object) -> ExperimentConfig:
    return parse({"dataset": "ham10000", **{k.replace("_", "-"): v for k, v in changes.items()}})


def test_what_a_site_decides_stays_open() -> None:
    config = prepare_deployed(wanted())
    assert (config.device, config.threads_per_client) == ("auto", 0)
    assert (config.batch_size, config.optimizer, config.learning_rate) == (32, "sgd", 0.01)
    assert config.min_replies == 2
    assert prepare_deployed(config) == config
    said = prepare_deployed(wanted(device="cpu", threads_per_client=3))
    assert (said.device, said.threads_per_client) == ("cpu", 3)


def test_all_that_is_wrong_is_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        prepare_deployed(parse({"data-dir": "/data"}))
    assert str(caught.value).splitlines() == [
        f"dataset = 'auto': name the data set of the sites, {dataset_choice()}",
        "data-dir = '/data': leave it empty; every site names its own images",
    ]
    with pytest.raises(
        ConfigError, match="test-dir = '/t': not allowed with dataset = brats2019, whose sites"
    ):
        prepare_deployed(wanted(dataset="brats2019", test_dir="/t"))
    with pytest.raises(ConfigError, match="allow-overlap = true: leave it out"):
        prepare_deployed(wanted(allow_overlap=True))
    with pytest.raises(ConfigError, match="split-file = '/s': allowed in a simulation only"):
        prepare_deployed(wanted(dataset="isic2019", split="flamby", split_file="/s"))
    with pytest.raises(ConfigError, match="alignment = 'mmd': allowed in a simulation only"):
        prepare_deployed(wanted(alignment="mmd", reference_dir="/r"))
    with pytest.raises(ConfigError, match="leave-out = 'a': allowed in a simulation only"):
        prepare_deployed(wanted(partition="source", leave_out="a"))
    with pytest.raises(ConfigError, match="weights-dir = 'w': write an absolute path"):
        prepare_deployed(wanted(weights_dir="w"))
    with pytest.raises(ConfigError, match=r"^strategy = 'pooled': trains on all hospitals' images"):
        prepare_deployed(wanted(strategy="pooled"))
    with pytest.raises(ConfigError, match=r"^backbone = 'timm:resnet19': timm has no model"):
        prepare_deployed(wanted(backbone="timm:resnet19"))


def test_no_path_travels() -> None:
    config = prepare_deployed(wanted(test_dir="/t", weights_dir="/w", cache_dir="/c", run_dir="/r"))
    sent = for_sites(config)
    assert {sent.to_flat()[key] for key in PATH_KEYS} == {""}
    assert sent.replace(test_dir="/t", weights_dir="/w", cache_dir="/c", run_dir="/r") == config


@pytest.mark.parametrize("device, precision", [("cuda", "bfloat16"), ("cpu", "float32")])
def test_the_coordinator_judges_on_what_it_has(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str
) -> None:
    """Sites may have GPUs, and the coordinator none."""
    monkeypatch.setattr(federated_config, "resolve_device", lambda _wanted: device)
    here = for_server(prepare_deployed(wanted(device="cuda", precision="bfloat16")))
    assert (here.device, here.precision) == (device, precision)


def test_clients_are_placed_on_all_gpus_that_are_seen(
    monkeypatch: pytest.MonkeyPatch, synthetic_ham: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpu = SimpleNamespace(total_memory=10**12)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: gpu)
    config = wanted(data_dir=str(synthetic_ham), clients=3)
    assert prepare_simulated(config.replace(device="cpu"))[1].gpus == 0
    monkeypatch.setattr(federated_config, "find_dataset_and_device", lambda _: ("ham10000", "cuda"))
    assert prepare_simulated(config)[1].gpus == 2


def test_a_rounds_longest_time_is_for_sites_only(tmp_path: Path) -> None:
    """Over sites a value of 12 hours is allowed: Flower keeps no message longer."""
    assert wanted().longest_round == 43_200
    assert prepare_deployed(wanted(round_timeout=43_200)).longest_round == 43_200
    assert prepare_deployed(wanted(round_timeout=600)).longest_round == 600
    with pytest.raises(ConfigError, match=r"round-timeout = 43201: allowed is .*43200"):
        wanted(round_timeout=43_201)
    for prepared in (prepare_simulated, prepare_centralized):
        with pytest.raises(ConfigError, match=r"round-timeout = 600: allowed over sites only"):
            prepared(wanted(round_timeout=600, data_dir=str(tmp_path)))
