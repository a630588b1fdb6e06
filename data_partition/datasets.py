"""The data sets by name: one for each file ``dataset_<name>.py`` in this folder, and those of
installed packages.
"""

import pkgutil
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import data_partition
from data_partition.errors import DataError
from operation.extension_point import ExtensionPoint
from operation.plugins import PlugInError
from operation.text import known_names

if TYPE_CHECKING:
    from data_partition.dataset import DataSet, Reading
    from data_partition.image_table import ImageTable
    from data_partition.published_split import PublishedSplit


_PREFIX = "dataset_"


def _own() -> tuple[str, ...]:
    modules = (module.name for module in pkgutil.iter_modules(data_partition.__path__))
    return tuple(sorted(name.removeprefix(_PREFIX) for name in modules if name.startswith(_PREFIX)))


def _load(name: str) -> "DataSet":
    found: DataSet = import_module(f"data_partition.{_PREFIX}{name}").DATA_SET
    return found


def _fault(name: str, found: object) -> str:
    from data_partition.dataset import DataSet

    if not isinstance(found, DataSet):
        return f"is of type {type(found).__name__}, not DataSet"
    return "" if found.name == name else f"calls itself {found.name!r}"


DATASETS: ExtensionPoint["DataSet"] = ExtensionPoint("datasets", _own(), cache(_load), _fault)
"""All data sets; nothing is imported before one is asked for."""


def dataset_choice() -> str:
    """Return the names of all data sets, with "or" before the last."""
    *names, last = DATASETS
    return f"{', '.join(names)} or {last}"


def find_dataset(name: str) -> "DataSet":
    """Return a data set.

    Raises:
        DataError: there is none of this name, or a package's cannot be used.
    """
    if name not in DATASETS:
        raise DataError(f"dataset = {name!r}: no such data set; {known_names(name, DATASETS)}")
    try:
        return DATASETS[name] if name in DATASETS.own else _with_checked_tables(name)
    except PlugInError as error:
        raise DataError(f"dataset = {name!r}: {error}") from None


@cache
def _with_checked_tables(name: str) -> "DataSet":
    """Return a package's data set, whose loaders raise DataError for a table that is not one."""
    from data_partition.image_table import check_table

    found, load_test = DATASETS[name], DATASETS[name].load_test

    def training(data_dir: Path, reading: "Reading") -> "ImageTable":
        return check_table(found.load_training(data_dir, reading), name)

    def test(data_dir: Path, test_dir: Path | None) -> "ImageTable | None":
        assert load_test is not None
        table = load_test(data_dir, test_dir)
        return None if table is None else check_table(table, name)

    return replace(found, load_training=training, load_test=test if load_test else None)


def own_datasets() -> "list[DataSet]":
    """Return the project's own data sets: the study's (docs/study.md) first, then by classes."""

    def place(found: "DataSet") -> tuple[bool, int]:
        return found.study.images is None, -len(found.classes or ())

    return sorted(map(find_dataset, DATASETS.own), key=place)


def published_splits(name: str) -> "dict[str, PublishedSplit]":
    """Return the published splits of a data set by name, for ``auto`` those of all own data sets.

    Raises:
        DataError: the data set cannot be used.
    """
    chosen = own_datasets() if name == "auto" else [find_dataset(name)]
    found = (dataset.published_split for dataset in chosen)
    return {split.name: split for split in found if split is not None}


@cache
def named_first() -> tuple[str, ...]:
    """Return the classes that every table names first: missing one harms a patient most."""
    labels = (label for dataset in own_datasets() for label in dataset.named_first)
    return tuple(dict.fromkeys(labels))  # data sets may share a class


@cache
def known_classes() -> tuple[str, ...]:
    """Return the classes of all published data sets, in the order of tables."""
    every = dict.fromkeys(c for dataset in own_datasets() for c in dataset.classes or ())
    return tuple(in_naming_order(every))


def in_naming_order(classes: Iterable[str]) -> list[str]:
    """Return class names as tables show them: those named first, then the others."""
    return sorted(classes, key=lambda label: label not in named_first())
