"""The extension points by the keys of the config, and the plug-ins that a config asks for."""

from collections.abc import Mapping
from typing import Any

from data_partition.datasets import DATASETS
from models.registry import PROVIDERS
from operation.extension_point import ExtensionPoint
from operation.plugins import PlugIn, PlugInError
from strategies.methods import METHODS
from training.errors import ConfigError
from training.losses import LOSSES
from training.scores import ALL_SCORES

EXTENSION_POINTS: Mapping[str, ExtensionPoint[Any]] = {
    "strategy": METHODS,
    "dataset": DATASETS,
    "backbone": PROVIDERS,
    "loss": LOSSES,
    "best-by": ALL_SCORES,
}
"""By key of the config."""


def names_of_others(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names that are none of the project's own, by key of ``EXTENSION_POINTS``.

    Nothing is loaded or looked for, so there need not be such a plug-in.

    Args:
        values: flat keys of a config, of any type.
    """
    found = {}
    for key, point in EXTENSION_POINTS.items():
        value = values.get(key)
        if not isinstance(value, str) or value == "auto" or (key, value) == ("best-by", "loss"):
            continue
        name, colon, _ = value.partition(":")
        if key == "backbone" and not colon:  # a package's backbones are called name:model
            continue
        if name not in point.own:
            found[key] = name
    return found


def plugins_of(values: Mapping[str, Any]) -> dict[str, PlugIn]:
    """Return the plug-ins that a valid config asks for, by key.

    Raises:
        ConfigError: a name belongs to several packages, or to fedskin and a package.
    """
    found = {}
    for key, point in EXTENSION_POINTS.items():
        value = values[key]
        name = value.partition(":")[0] if key == "backbone" else value
        try:
            plugin = point.origin(name)
        except PlugInError as error:
            raise ConfigError(f"{key} = {value!r}: {error}") from None
        if plugin is not None:
            found[key] = plugin
    return found


def packages_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the packages with plug-ins that a valid config asks for, and their versions.

    Raises:
        ConfigError: see `plugins_of`.
    """
    return {plugin.package: plugin.version for plugin in plugins_of(values).values()}
