"""The order in which tables show classes."""

from collections.abc import Iterable
from functools import cache

from data_partition.datasets import own_datasets


@cache
def named_first() -> tuple[str, ...]:
    """Return the classes that every table names first: missing one harms a patient most."""
    return tuple(label for dataset in own_datasets() for label in dataset.named_first)


@cache
def known_classes() -> tuple[str, ...]:
    """Return the classes of all published data sets, in the order of tables."""
    return tuple(in_naming_order(c for dataset in own_datasets() for c in dataset.classes or ()))


def in_naming_order(classes: Iterable[str]) -> list[str]:
    """Return class names as tables show them: those named first, then the others."""
    return sorted(classes, key=lambda label: label not in named_first())
