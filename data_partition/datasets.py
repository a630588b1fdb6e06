"""The data sets by name: one for each file ``dataset_<name>.py`` in this folder."""

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import data_partition
from data_partition.errors import DataError
from operation.names import known_names

if TYPE_CHECKING:  # it imports pandas, which takes long, and a config needs the names only
    from data_partition.dataset import DataSet

_PREFIX = "dataset_"


@cache
def dataset_names() -> tuple[str, ...]:
    """Return the names of all data sets, sorted; nothing is imported, so that this is fast."""
    modules = (module.name for module in pkgutil.iter_modules(data_partition.__path__))
    return tuple(sorted(name.removeprefix(_PREFIX) for name in modules if name.startswith(_PREFIX)))


def dataset_choice() -> str:
    """Return the names of all data sets, with "or" before the last."""
    *names, last = dataset_names()
    return f"{', '.join(names)} or {last}"


@cache
def find_dataset(name: str) -> "DataSet":
    """Return a data set.

    Raises:
        DataError: there is none of this name.
    """
    if name not in dataset_names():
        known = known_names(name, dataset_names())
        raise DataError(f"dataset = {name!r}: no such data set; {known}")
    found: DataSet = import_module(f"data_partition.{_PREFIX}{name}").DATA_SET
    return found


def all_datasets() -> "list[DataSet]":
    """Return all data sets: those with most classes first, then those whose folders name them."""
    return sorted(map(find_dataset, dataset_names()), key=lambda found: -len(found.classes or ()))
