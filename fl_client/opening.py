"""The client that a message is for: in a simulation, or at a site."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from data_partition.splits import SPLITS
from data_partition.synthetic_folder import is_synthetic
from fl_client.at_site import open_site_client
from fl_client.client import Client
from operation.parsing import parse_toml
from training.config import parse
from training.experiment_data import open_federated_data


def open_client(settings: Mapping[str, Any], node_config: Mapping[str, Any]) -> Client:
    """Return the client that a message is for.

    Args:
        settings: settings in the message; ``experiment`` has the config as TOML. Flower's run
            config is not used: it may still have ``auto``.
        node_config: in a simulation ``partition-id``, which makes this ``client-<id>``; at a site
            ``site``, its name, and more: see `fl_client.at_site.open_site_client`.

    Raises:
        ConfigError, DataError, TrainingError: see `open_site_client`.
    """
    if "site" in node_config:
        client = open_site_client(settings, node_config)
    else:
        client = _open(str(settings["experiment"]), int(node_config["partition-id"]))
    torch.set_num_threads(client.config.threads_per_client)
    return client


# A simulation's processes work for any client, round after round; reading the data's table again
# for every message would take longer than some rounds. The entries are names, numbers and file
# maps.
@lru_cache(maxsize=64)
def _open(experiment: str, partition_id: int) -> Client:
    config = parse(parse_toml(experiment))
    data = open_federated_data(config)
    name = f"client-{partition_id}"
    return Client(
        name=name,
        config=config,
        splits={split: data.split(name, split) for split in SPLITS},
        classes=data.store.classes,
        folder=Path(config.run_dir) / "clients" / name,
        fingerprint=data.store.fingerprint,
        synthetic=is_synthetic(config.data_dir),
    )
