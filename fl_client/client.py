"""One client: its name, its settings and its images."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from data_partition.splits import SPLITS
from data_partition.synthetic_folder import is_synthetic
from training.config import ExperimentConfig, parse
from training.experiment_data import open_federated_data
from training.network import base_sha256, build_base
from training.split import Split


@dataclass(frozen=True)
class Client:
    """What a client knows before a message comes.

    Attributes:
        name: its name in the federation.
        config: the resolved config.
        splits: its images, by ``train``, ``validation`` and ``test``.
        classes: K class names, in the order of the network's outputs.
        folder: where it keeps files of its own between rounds.
        fingerprint: tells its images from others; see ``ImageStore``.
        synthetic: whether its images are made up.
        at_site: whether it is a site's, which takes the final model home.
    """

    name: str
    config: ExperimentConfig
    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    folder: Path
    fingerprint: str = ""
    synthetic: bool = False
    at_site: bool = False

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        """The device that this client computes on."""
        return torch.device(self.config.device)


def open_client(settings: Mapping[str, Any], node_config: Mapping[str, Any]) -> Client:
    """Return the client that a message is for.

    Args:
        settings: the message's; ``experiment`` holds the config as TOML. What Flower calls the
            run config is not asked: there ``auto`` may still stand.
        node_config: in a simulation ``partition-id``, which makes this ``client-<id>``; at a site
            ``site``, its name, and more: see `fl_client.at_site.open_site_client`.

    Raises:
        ConfigError, DataError, TrainingError: as `open_site_client`.
    """
    if "site" in node_config:
        from fl_client.at_site import open_site_client

        client = open_site_client(settings, node_config)
    else:
        client = _open(str(settings["experiment"]), int(node_config["partition-id"]))
    torch.set_num_threads(client.config.threads_per_client)
    return client


# A simulation's processes serve any client, and all of a run have one base.
@lru_cache(maxsize=1)
def base_of(config: ExperimentConfig) -> str:
    """Return the sha256 of the base that a client of this config has.

    Raises:
        WeightsError: its pretrained weights are missing or unusable.
    """
    return base_sha256(build_base(config))


# A simulation's processes serve any client, round after round; reading the data's table anew for
# every message would cost more than some rounds. The entries are names, numbers and file maps.
@lru_cache(maxsize=64)
def _open(experiment: str, partition_id: int) -> Client:
    config = parse(tomllib.loads(experiment))
    data = open_federated_data(config)
    name = f"client-{partition_id}"
    return Client(
        name=name,
        config=config,
        splits={split: data.split(name, split) for split in SPLITS},
        classes=data.store.classes,
        folder=Path(config.run_dir) / "clients" / name,
        fingerprint=data.store.fingerprint,
        synthetic=is_synthetic(Path(config.data_dir)),
    )
