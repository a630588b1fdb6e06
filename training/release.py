"""The tables and image stores of the data that a config names.

Functions that read the data folder raise `ConfigError` if no data folder is set, or if a test
folder is set for a data set that has its own test patients; and `DataError` if the folder is
missing or unusable. The docstrings below name only further errors.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_partition import datasets, recognition
from data_partition.dataset import DataSet, Reading
from data_partition.errors import DataError
from data_partition.image_reader import Photographs
from data_partition.image_store import (
    ImageStore,
    ProgressCallback,
    has_store,
    open_store,
    store_side,
)
from data_partition.image_table import ImageTable
from data_partition.published_split import PublishedSplit
from training.config import ExperimentConfig
from training.errors import ConfigError


def cache_dir(config: ExperimentConfig) -> Path:
    """Return the cache folder: ``cache-dir``, or the user's cache."""
    if config.cache_dir:
        return Path(config.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fedskin"


def recognise_dataset(config: ExperimentConfig) -> DataSet:
    """Return the data set of a config: ``dataset``, or with ``auto`` the one in ``data-dir``.

    Raises:
        DataError: with ``auto``, the folder does not hold exactly one data set.
    """
    if not config.data_dir:
        raise ConfigError("data-dir = '': name the folder of the images")
    if config.dataset == "auto":
        found = recognition.recognise(Path(config.data_dir))
    else:
        found = datasets.find_dataset(config.dataset)
    if found.load_test is None and config.test_dir:
        raise ConfigError(
            f"test-dir = {config.test_dir!r}: {found.title}'s test patients are in data-dir; leave "
            "test-dir empty"
        )
    return found


def published_split(config: ExperimentConfig) -> PublishedSplit:
    """Return the published split of a config's data set, whose file is ``split-file``.

    Raises:
        DataError: it has none.
    """
    dataset = recognise_dataset(config)
    if dataset.published_split is None:
        raise DataError(
            f"split-file = {config.split_file!r}: {dataset.title} has no published split; leave it "
            "out"
        )
    return dataset.published_split


def dataset_of(config: ExperimentConfig) -> DataSet:
    """Return the data set of a config that may have a name for it, but no data folder."""
    return (
        recognise_dataset(config)
        if config.dataset == "auto"
        else datasets.find_dataset(config.dataset)
    )


def reading(config: ExperimentConfig, tests_in: Sequence[Path] | None = None) -> Reading:
    """Return what a config says about reading a data folder."""
    first, second, third = config.modalities.split(",")
    return Reading(
        tests_in,
        (first, second, third),
        config.slices_per_patient,
        config.slice_choice,
        by_source=config.partition == "source",
    )


def training_table(
    config: ExperimentConfig, *, tests_in: Sequence[Path] | None = None
) -> ImageTable:
    """Read the tables of a config's training release; nothing is decoded.

    Args:
        tests_in: as for `Reading`; None: as the config says.
    """
    if tests_in is None and config.test_dir:
        tests_in = [Path(config.test_dir)]
    return recognise_dataset(config).load_training(Path(config.data_dir), reading(config, tests_in))


def test_table(config: ExperimentConfig) -> ImageTable | None:
    """Read the tables of a config's separate test set; None if there is none.

    Raises:
        DataError: ``test-dir`` is set but has no test set, or one with other classes.
    """
    dataset = recognise_dataset(config)
    if dataset.load_test is None:
        return None
    test_dir = Path(config.test_dir) if config.test_dir else None
    table = dataset.load_test(Path(config.data_dir), test_dir)
    if table is not None and dataset.classes is None:
        return table.with_classes(training_table(config).classes)
    return table


def open_training(
    config: ExperimentConfig,
    progress: ProgressCallback | None = None,
    *,
    tests_in: Sequence[Path] | None = None,
    table: ImageTable | None = None,
) -> ImageStore:
    """Open the image store of a config's training release.

    Args:
        tests_in: as for `training_table`.
        table: its result, if it has been called.
    """
    if table is None:
        table = training_table(config, tests_in=tests_in)
    return open_table(config, table, progress)


def is_stored(config: ExperimentConfig, table: ImageTable) -> bool:
    """Return whether a table's images are decoded already, in the size of a config.

    Raises:
        DataError: as `read_as`, or a file is missing.
    """
    side = store_side(config.image_size)
    return has_store(read_as(config, table), side=side, cache_dir=cache_dir(config))


def open_table(
    config: ExperimentConfig, table: ImageTable, progress: ProgressCallback | None = None
) -> ImageStore:
    """Open the store of some images, with the size and cache folder of a config."""
    side = store_side(config.image_size)
    return open_store(
        read_as(config, table), side=side, cache_dir=cache_dir(config), progress=progress
    )


def read_as(config: ExperimentConfig, table: ImageTable) -> ImageTable:
    """Return a table whose reader makes the pixels that ``input`` asks for.

    Raises:
        DataError: the images are not photographs.
    """
    if config.input == "study":
        return table
    if not isinstance(table.reader, Photographs):
        raise DataError(f"input = {config.input}: for photographs only; take input = study")
    return replace(table, reader=photographs(config))


def photographs(config: ExperimentConfig) -> Photographs:
    """Return the reader that makes the pixels that ``input`` asks for of photographs."""
    return Photographs(square=config.keeps_aspect, shades_of_grey=config.corrects_light)
