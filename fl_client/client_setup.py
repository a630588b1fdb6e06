"""The client that a message is for: in a simulation, or at a site on its own machine."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import torch

from data_partition.errors import DataError
from data_partition.splits import SPLITS
from data_partition.synthetic_folder import is_synthetic
from fl_client.client import Client
from operation.files import parse_toml, remove_leftovers
from strategies.methods import METHODS
from training.config import ExperimentConfig, parse
from training.device import resolve_device
from training.errors import TrainingError
from training.experiment_data import open_federated_data
from training.preparation import check_backbone, prefetch_base
from training.reference import open_reference
from training.site_data import open_own_data
from training.split import CentralData, FederatedData, StoredImages

RUN = re.compile("[0-9a-f]{32}")


def open_client(settings: Mapping[str, Any], node_config: Mapping[str, Any]) -> Client:
    """Return the client that a message is for; its folder has no half-written files any more.

    Args:
        settings: settings in the message; ``experiment`` has the config as TOML. Flower's run
            config is not used: it may still have ``auto``.
        node_config: in a simulation ``partition-id``, which makes this ``client-<id>``; at a site
            ``site``, its name, and more: see `open_site_client`.

    Raises:
        ConfigError, DataError, TrainingError: see `open_site_client`.
    """
    if "site" in node_config:
        client = open_site_client(settings, node_config)
    else:
        client = _open_simulated_client(
            str(settings["experiment"]), int(node_config["partition-id"])
        )
    torch.set_num_threads(client.config.threads_per_client)
    # Here and not later: a process whose message was given up may write as long as it lives.
    remove_leftovers(client.folder)
    return client


def open_site_client(settings: Mapping[str, Any], node_config: Mapping[str, Any]) -> Client:
    """Return the client of this site.

    Args:
        settings: settings in the message: ``experiment``, the config as TOML, whose paths are
            ignored here; ``run``, 32 hex digits; and ``client-index``, the rank of the site's name.
        node_config: the site's own settings: ``site``, its name; ``folder``, for its files;
            ``policy``, the file of its policy, which is read for each message; ``data-dir``,
            ``cache-dir`` and ``weights-dir``; and, if its images are a shard of a common release,
            ``partition-id`` and ``num-partitions``.

    Raises:
        ConfigError: this machine lacks what the config asks for.
        DataError: the images cannot be used, or not divided as asked.
        TrainingError: ``run`` is not a valid id.
    """
    run = str(settings["run"])
    if RUN.fullmatch(run) is None:  # it becomes the name of a folder
        raise TrainingError(f"run = {run!r}: is not 32 hex digits")
    name = str(node_config["site"])
    config = _here(parse(parse_toml(str(settings["experiment"]))), node_config)
    data: CentralData | FederatedData
    if "partition-id" in node_config:
        shard, shards = int(node_config["partition-id"]), int(node_config["num-partitions"])
        if shards != config.clients:
            raise DataError(
                f"{name} holds shard {shard + 1} of {shards}, but the run has clients = "
                f"{config.clients}"
            )
        data = open_federated_data(config)
        splits = {split: data.split(f"client-{shard}", split) for split in SPLITS}
    else:
        data = open_own_data(config, int(settings["client-index"]))
        splits = {split: data.split(split) for split in SPLITS}
    return Client(
        name=name,
        config=config,
        splits=splits,
        classes=data.store.classes,
        rows=data.store.rows,
        folder=Path(str(node_config["folder"])) / "runs" / run,
        fingerprint=data.store.fingerprint,
        synthetic=is_synthetic(config.data_dir),
        is_site=True,
        histograms=_may_send(node_config, "histograms"),
        sends_class_counts=_may_send(node_config, "class-counts"),
    )


def check_site(settings: Mapping[str, Any], node_config: Mapping[str, Any]) -> None:
    """Check that this site can build its network, before its images are decoded.

    For the arguments see `open_site_client`.

    Raises:
        ConfigError: this machine lacks what the config asks for.
        WeightsError: the pretrained weights of the base are missing or unusable.
    """
    config = _here(parse(parse_toml(str(settings["experiment"]))), node_config)
    check_backbone(config)
    prefetch_base(config)


def _may_send(node_config: Mapping[str, Any], what: str) -> bool:
    """Return whether the site's policy allows this; if not, its guard would refuse the reply."""
    if "policy" not in node_config:
        return True
    policy = parse_toml(Path(str(node_config["policy"])).read_text(encoding="utf-8"))
    return policy.get(what, True) is True


def _here(config: ExperimentConfig, node_config: Mapping[str, Any]) -> ExperimentConfig:
    return config.replace(
        data_dir=str(node_config["data-dir"]),
        cache_dir=str(node_config["cache-dir"]),
        weights_dir=str(node_config["weights-dir"]),
        test_dir="",
        run_dir="",
        device=resolve_device(config.device),
        threads_per_client=config.threads_per_client or joblib.cpu_count(),
    )


# A simulation's processes work for any client, round after round; reading the data's table again
# for every message would take longer than some rounds.
@lru_cache(maxsize=1)
def _open_simulation(
    experiment: str,
) -> tuple[ExperimentConfig, FederatedData, StoredImages | None]:
    config = parse(parse_toml(experiment))
    return config, open_federated_data(config), open_reference(config)


def _open_simulated_client(experiment: str, partition_id: int) -> Client:
    config, data, reference = _open_simulation(experiment)
    name = f"client-{partition_id}"
    splits = {split: data.split(name, split) for split in SPLITS}
    if METHODS[config.strategy].pooled and partition_id == 0:
        splits["train"] = data.of_all("train")
    return Client(
        name=name,
        config=config,
        splits=splits,
        classes=data.store.classes,
        rows=data.store.rows,
        folder=Path(config.run_dir) / "clients" / name,
        reference=reference,
        fingerprint=data.store.fingerprint,
        synthetic=is_synthetic(config.data_dir),
    )
