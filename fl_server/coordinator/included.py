"""Installed packages with plug-ins, to be put into the bundle: entries and Python files."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import PurePosixPath
from typing import Any

from data_partition.datasets import own_datasets
from fl_server.bundle import PACKAGES
from operation.archives import is_plain_name
from operation.errors import OperationError
from operation.plugins import PlugIn, installed
from operation.text import known_names
from strategies.methods import METHODS
from strategies.package_methods import declare
from training.config import DEFAULTS, Scalar, defaults, parse
from training.extension_points import EXTENSION_POINTS
from training.study import resolve

# They say something about a package and are never imported.
_ABOUT = (".dist-info", ".egg-info")
_LEFT_OUT = {".pyc", ".pyi", ".typed"}


@dataclass(frozen=True)
class Included:
    """A package in the bundle."""

    plugins: tuple[PlugIn, ...]  # its entries
    files: Mapping[str, bytes]  # the content of its files by their names in the bundle
    # The keys that its methods and losses add to the config, with their defaults.
    config: Mapping[str, Scalar]
    methods: Mapping[str, Mapping[str, Any]]  # what a site's guard knows of its methods, by name


def include(package: str) -> Included:
    """Read an installed package, and load its plug-ins once to see that they can be used.

    Raises:
        OperationError: it is not installed, has no plug-in or one that cannot be used, or has files
            that cannot be in a bundle; the message names the package.
        ConfigError: a key of one of its methods or losses cannot be used.
    """
    found = installed()
    plugins = tuple(each for each in found if _normal(each.package) == _normal(package))
    if not plugins:
        names = sorted({each.package for each in found})
        known = known_names(package, names) if names else "none is installed here"
        raise OperationError(f"--include {package}: no installed package with plug-ins; {known}")
    files = _files(plugins[0].package)
    for plugin in plugins:
        if not plugin.files & files.keys():
            raise OperationError(
                f"--include {package}: {plugin.place}, its {plugin.what}, is not among its files"
            )
        _load(plugin)
    config: dict[str, Scalar] = {}
    methods = {}
    for plugin in plugins:
        (key,) = (key for key, each in EXTENSION_POINTS.items() if each.group == plugin.group)
        config |= {k: v for k, v in defaults({key: plugin.name}).items() if k not in DEFAULTS}
        if plugin.group == METHODS.group:
            methods[plugin.name] = declare(METHODS[plugin.name], _settings(plugin.name))
    return Included(plugins, files, config, methods)


def _settings(strategy: str) -> dict[str, Scalar]:
    """Return some resolved config's keys with their values."""
    dataset, config = own_datasets()[0].name, parse({"strategy": strategy})
    return resolve(config, dataset=dataset, device="cpu", threads_per_client=1).to_flat()


def _load(plugin: PlugIn) -> None:
    (point,) = (each for each in EXTENSION_POINTS.values() if each.group == plugin.group)
    point.origin(plugin.name)
    point[plugin.name]


def _files(package: str) -> dict[str, bytes]:
    """Return the Python files that a package installed, by their paths below site-packages.

    Raises:
        OperationError: some of its files cannot be in a bundle.
    """
    found: dict[str, bytes] = {}
    for file in metadata.files(package) or ():
        path = PurePosixPath(file)
        if path.parts[0] == ".." or path.parts[0].endswith(_ABOUT) or path.suffix in _LEFT_OUT:
            continue
        if path.suffix == ".pth" or path.name.startswith("__editable__"):
            raise OperationError(
                f"--include {package}: is installed in editable form, so its files are not known; "
                "install it without -e"
            )
        if path.suffix != ".py":
            raise OperationError(
                f"--include {package}: {path} is not a Python file, and only these are in a bundle"
            )
        if not is_plain_name(str(path)):
            raise OperationError(
                f"--include {package}: {str(path)!r} could be shown as another name; the bundle's "
                "names are of ASCII letters, digits, '.', '_' and '-'"
            )
        alike = [name for name in found if name.lower() == str(path).lower()]
        if alike:
            raise OperationError(
                f"--include {package}: {alike[0]} and {path} are one file on some disks; rename one"
            )
        found[str(path)] = file.locate().read_bytes()  # type: ignore[attr-defined]
    for top in sorted({name.split("/")[0].removesuffix(".py") for name in found}):
        _check_top(package, top)
    return found


def _check_top(package: str, top: str) -> None:
    """Refuse a package that would take the place of other code where the bundle runs.

    Raises:
        OperationError: naming both.
    """
    own = {name.split("/")[0] for name in PACKAGES} | {"fedskin", "experiments"}
    if top.lower() in own:
        raise OperationError(f"--include {package}: {top} is fedskin's own package; rename it")
    if top in sys.stdlib_module_names:
        raise OperationError(f"--include {package}: {top} is a module of Python; rename it")
    providers = metadata.packages_distributions().get(top, ())
    others = {name for name in providers if _normal(name) != _normal(package)}
    if others:
        raise OperationError(f"--include {package}: {top} is also in {min(others)}; rename it")


def _normal(name: str) -> str:
    """Return a distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
