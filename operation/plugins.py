"""Plug-ins: entries of installed packages, which stand beside the project's own
(`operation.extension_point`).

A package offers them as entry points in the groups ``fedskin.<group>``. Their names are in its
metadata, so nothing of it is imported here.

An app that came in a bundle has the plug-ins that its pyproject.toml lists, with the files that
came with it. Whatever else is installed on the machine does not exist for it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from operation.errors import OperationError
from operation.files import parse_toml

# By group of entry points, what an entry is called in messages.
GROUPS = {
    "strategies": "method",
    "datasets": "data set",
    "backbones": "library of backbones",
    "losses": "loss",
    "scores": "score",
}

APP = Path(__file__).resolve().parents[1]
"""The folder of the running packages: a bundle's, a checkout, or where fedskin is installed."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,99}")
_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?", re.ASCII)


class PlugInError(OperationError):
    """A plug-in that cannot be used; the message names its package."""


@dataclass(frozen=True)
class PlugIn:
    """An entry of a package."""

    group: str
    name: str
    # package, version: of the distribution.
    package: str
    version: str
    place: str  # where the entry is: ``module:attribute``, or a module

    @property
    def owner(self) -> str:
        """The package and its version, as text for users."""
        return f"{self.package} {self.version}"

    @property
    def files(self) -> set[str]:
        """The two names that its module's file may have in a bundle."""
        module = self.place.partition(":")[0].replace(".", "/")
        return {f"{module}.py", f"{module}/__init__.py"}

    @property
    def what(self) -> str:
        """What it is and its name, as text for users."""
        return f"{GROUPS[self.group]} {self.name!r}"


@cache
def all_plugins() -> tuple[PlugIn, ...]:
    """Return the bundle's plug-ins, or outside a bundle those that are installed.

    Raises:
        PlugInError: the bundle's list is damaged.
    """
    listed = bundled()
    return installed() if listed is None else listed


@cache
def bundled() -> tuple[PlugIn, ...] | None:
    """Return the plug-ins of the bundle that the running packages are from; None outside a bundle.

    Raises:
        PlugInError: its list is damaged.
    """
    path = APP / "pyproject.toml"
    if not path.is_file():
        return None
    try:
        return from_pyproject(parse_toml(path.read_text(encoding="utf-8")))
    except (ValueError, OSError):
        raise PlugInError(f"{path}: its list of plug-ins is damaged; write it again") from None


def installed() -> tuple[PlugIn, ...]:
    """Return the plug-ins of all installed packages."""
    # Most packages have none: that is seen in the text, which is faster than parsing it.
    named = {
        package.name
        for package in metadata.distributions()
        if "[fedskin." in (package.read_text("entry_points.txt") or "")
    }
    # A package may be there twice; that one counts which Python would import.
    first = {package.name: package for package in map(metadata.distribution, sorted(named))}
    groups = {f"fedskin.{group}": group for group in GROUPS}
    return tuple(
        PlugIn(groups[entry.group], entry.name, package.name, package.version, entry.value)
        for package in first.values()
        for entry in package.entry_points
        if entry.group in groups
    )


def for_pyproject(plugins: Iterable[PlugIn]) -> dict[str, Any]:
    """Return the table ``tool.fedskin`` by which a bundle's pyproject.toml lists its plug-ins."""
    return {"plug-ins": [asdict(plugin) for plugin in plugins]}


def from_pyproject(about: Mapping[str, Any]) -> tuple[PlugIn, ...] | None:
    """Return the plug-ins that the content of a pyproject.toml lists; None if it has no list.

    Raises:
        ValueError: the list has another form; its content is not trusted.
    """
    tools = about.get("tool")
    ours = tools.get("fedskin") if isinstance(tools, dict) else None
    if ours is None:
        return None
    listed = ours.get("plug-ins") if isinstance(ours, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a list of plug-ins")
    return tuple(map(_checked, listed))


def _checked(values: object) -> PlugIn:
    names = {field.name for field in fields(PlugIn)}
    if not isinstance(values, dict) or values.keys() != names:
        raise ValueError("not a plug-in")
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError("not a plug-in's words")
    words = all(_WORD.fullmatch(values[key]) for key in ("name", "package", "version"))
    if values["group"] not in GROUPS or not words or not _PLACE.fullmatch(values["place"]):
        raise ValueError("not a plug-in's words")
    return PlugIn(**values)
