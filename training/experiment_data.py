"""The data of one experiment: the image stores and who holds which images of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data_partition import ham10000, isic2018
from data_partition.image_store import ImageStore, open_store, store_side
from data_partition.image_table import ImageTable
from data_partition.partition import plan_partition
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.split import Split


@dataclass(frozen=True)
class FederatedData:
    """The training release, cut among clients.

    Attributes:
        store: all images.
        plan: one row per image of the store, in the store's order, with ``client`` and ``split``.
    """

    store: ImageStore
    plan: pd.DataFrame

    def split(self, client: str, name: str) -> Split:
        """Return one split, ``train``, ``validation`` or ``test``, of a client."""
        chosen = (self.plan["client"] == client) & (self.plan["split"] == name)
        return Split(self.store.images, self.store.labels, np.flatnonzero(chosen.to_numpy()))


def whole(store: ImageStore) -> Split:
    """Return all images of a store as one split."""
    return Split(store.images, store.labels, np.arange(len(store.labels)))


def cache_dir(config: ExperimentConfig) -> Path:
    """Return the cache folder: ``cache-dir``, else the user's own cache."""
    if config.cache_dir:
        return Path(config.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fedskin"


def open_federated_data(
    config: ExperimentConfig, progress: Callable[[int, int], None] | None = None
) -> FederatedData:
    """Open the training release of a config and cut it among its clients.

    The image store is built the first time; later calls, of every process, map it into memory.

    Args:
        config: names the data folder, the partition and the seed.
        progress: called with (images done, images in all) while a store is built.

    Raises:
        ConfigError: no data folder is set.
        DataError: the folder cannot be used, or not cut as asked.
    """
    if not config.data_dir:
        raise ConfigError("data-dir = '': name the folder of the HAM10000 images")
    store = _open(config, ham10000.load_training(Path(config.data_dir)), progress)
    plan = plan_partition(
        store.rows,
        partition=config.partition,
        clients=config.clients,
        dirichlet_alpha=config.dirichlet_alpha,
        split_by=config.split_by,
        seed=config.seed,
    )
    return FederatedData(store, plan)


def open_test_data(
    config: ExperimentConfig, progress: Callable[[int, int], None] | None = None
) -> ImageStore | None:
    """Open the global test set of a config; None where ``data-dir`` holds none.

    Raises:
        DataError: ``test-dir`` is set and holds no test set, or the set cannot be used.
    """
    test_dir = Path(config.test_dir) if config.test_dir else None
    table = isic2018.load_test(Path(config.data_dir), test_dir)
    return None if table is None else _open(config, table, progress)


def _open(
    config: ExperimentConfig, table: ImageTable, progress: Callable[[int, int], None] | None
) -> ImageStore:
    side = store_side(config.image_size)
    return open_store(table, side=side, cache_dir=cache_dir(config), progress=progress)
