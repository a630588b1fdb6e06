"""How many images a run has: each client's, by split, and the test set's; nothing is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from data_partition.dataset import DataSet
from data_partition.datasets import find_dataset, own_datasets
from data_partition.image_store import store_side
from data_partition.image_table import ImageTable
from data_partition.partition import source_of, split_counts
from data_partition.splits import split_patients
from training.config import ExperimentConfig
from training.division import cut, deal, is_left_out
from training.errors import ConfigError
from training.reference import reference_table
from training.release import is_stored, open_table, reading, test_table, training_table

# Shares of a client's images; see data_partition/splits.py.
_CLIENT_SHARES = (0.6, 0.2, 0.2)

ALL_IMAGES = "all images"
"""The one client of a centralized run."""


@dataclass(frozen=True)
class ClientImages:
    """The numbers of a client's images; of the estimated ones they need not be whole."""

    train: float
    validation: float
    test: float


@dataclass(frozen=True)
class ImageCounts:
    """The number of images of a run."""

    clients: tuple[ClientImages, ...]  # in order; of a centralized run one, without test images
    stored: int  # in all image stores, at one size
    test: int  # of the global test set
    left_out: int = 0  # of the source that ``leave-out`` names
    # Whether they were counted in the data folder; otherwise they are those of the study
    # (docs/study.md), in clients of equal size.
    counted: bool = True

    @property
    def training(self) -> float:
        """Images of all clients."""
        return sum(each.train + each.validation + each.test for each in self.clients)


@dataclass(frozen=True)
class Division:
    """The images of a run as its tables, or its image stores, say.

    Attributes:
        table: number of images of each class (columns) in each split of each client (rows: the
            levels ``client`` and ``split``); damaged images are in it until they are decoded.
        to_decode: tables whose images are in no store yet.
        sources: of each client, with ``partition = source``.
    """

    table: pd.DataFrame
    counts: ImageCounts
    to_decode: tuple[ImageTable, ...]
    sources: Mapping[str, str]


def divide(command: str, config: ExperimentConfig) -> Division:
    """Divide the images in a config's data folder among its clients, as a run does.

    Raises:
        ConfigError, DataError: the folder cannot be used, or not divided as the config says.
    """
    tables = [training_table(config), test_table(config), reference_table(config)]
    training, test, _ = tables
    assert training is not None
    held = open_table(config, training) if is_stored(config, training) else training
    if command == "simulate":
        plan = deal(config, held)
    else:
        plan = held.rows[["label"]].assign(client=ALL_IMAGES, split=cut(config, held))
        plan = plan[plan["split"] != "test"]  # slices of test patients
    by_class = split_counts(plan)
    numbers = by_class.sum(axis=1).unstack("split")
    clients = tuple(
        ClientImages(*(int(numbers[split][name]) for split in ("train", "validation", "test")))
        for name in by_class.index.unique("client")
    )
    if training.sliced:
        num_test = int((split_patients(held.rows, seed=config.seed) == "test").sum())
    else:
        num_test = 0 if test is None else len(test.rows)
    there = [table for table in tables if table is not None]
    counts = ImageCounts(
        clients=clients,
        stored=sum(len(table.rows) for table in there),
        test=num_test,
        left_out=int(is_left_out(config, held).sum()),
    )
    missing = tuple(table for table in there if not is_stored(config, table))
    sources = {}
    if command == "simulate" and config.partition == "source":
        sources = {name: source_of(plan, name) for name in plan["client"].unique()}
    return Division(by_class, counts, missing, sources)


def count_images(command: str, config: ExperimentConfig) -> ImageCounts:
    """Count the images in a config's data folder; without a folder, take the study's numbers.

    Raises:
        ConfigError: no folder is set, and the study does not have the data set.
        ConfigError, DataError: as for `divide`.
    """
    if config.data_dir:
        return divide(command, config).counts
    dataset = find_dataset(studied(config.dataset))
    if dataset.study.images is None:
        raise ConfigError(
            f"dataset = {config.dataset}: the study has no such images, so their number is "
            f"unknown; give their folder with --data {config.dataset}=DIR"
        )
    return assumed(command, config, dataset, *dataset.study.images(reading(config)))


def assumed(
    command: str, config: ExperimentConfig, dataset: DataSet, training: int, test: int
) -> ImageCounts:
    """Return counts of so many images in clients of equal size."""
    num_clients, shares = 1, (*dataset.study.central_shares, 0.0)
    if command == "simulate":
        num_clients, shares = config.clients, _CLIENT_SHARES
    one = ClientImages(*(share * training / num_clients for share in shares))
    return ImageCounts((one,) * num_clients, training + test, test, counted=False)


def studied(dataset: str) -> str:
    """Return a data set's name; for ``auto`` without a data folder the study's first."""
    return own_datasets()[0].name if dataset == "auto" else dataset


def store_bytes(image_size: int, num_images: int) -> int:
    """Return the bytes of so many decoded images, for runs of that image size."""
    return 3 * store_side(image_size) ** 2 * num_images
