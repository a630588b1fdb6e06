"""The bundles that may run at a site: inspection, approval by hash, withdrawal."""

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from operation.archives import MAX_NAME, is_plain_name, read_member
from operation.errors import OperationError
from operation.files import parse_toml, read_json, write_bytes, write_json
from operation.plugins import PlugIn, from_pyproject
from operation.text import printable
from strategies.method import Method
from strategies.methods import METHODS
from strategies.package_methods import declared

# Flower accepts no larger ones.
_MAX_BYTES = 10 * 1024 * 1024
_MAX_UNPACKED_BYTES = 10 * _MAX_BYTES
# The errors that reading an arbitrary file can raise, besides OperationError.
_UNSOUND = (
    ArithmeticError,  # an offset that no file has
    AttributeError,
    struct.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # also RecursionError and NotImplementedError
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Bundle:
    """A Flower App bundle."""

    content: bytes  # the file's bytes
    version: str  # the app's, printable
    # Sha256 of each file's bytes, by name; including Flower's own lists in ``.info/``.
    files: dict[str, str]
    config: dict[str, Any]  # the keys that a run may set, with their defaults
    plugins: tuple[PlugIn, ...] = ()  # what it holds of other packages
    # What those of them that are methods say about messages and replies, by name.
    methods: Mapping[str, Method] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """Its hash, by which it is approved."""
        return hashlib.sha256(self.content).hexdigest()


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's file.

    Raises:
        OperationError: it is not a bundle, or a name in it is not its own normal form, so that the
            shown name might not be the one that runs.
    """
    if not path.is_file():
        raise OperationError(f"{path}: is not there; name the bundle that the coordinator sent")
    if path.stat().st_size > _MAX_BYTES:
        raise OperationError(f"{path}: is larger than a bundle can be; ask for another")
    content = path.read_bytes()
    try:
        return _open(content)
    except _Name as error:
        raise OperationError(
            f"{path}: holds the file {str(error)!r}, whose name could be shown as another; do not "
            "approve it, and inform the coordinator"
        ) from None
    except _UNSOUND:
        raise OperationError(
            f"{path}: is not a whole Flower App bundle; ask the coordinator for it again"
        ) from None


class _Name(Exception):
    """A file name that is not allowed."""


def _open(content: bytes) -> Bundle:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = archive.infolist()
        _check_names(members)
        files, left = {}, _MAX_UNPACKED_BYTES
        for member in members:
            unpacked = read_member(archive, member, left)
            left -= len(unpacked)
            files[member.filename] = hashlib.sha256(unpacked).hexdigest()
        settings = read_member(archive, archive.getinfo("pyproject.toml"), _MAX_BYTES)
    about = parse_toml(settings.decode("utf-8"))
    version, config = about["project"]["version"], about["tool"]["flwr"]["app"].get("config", {})
    if not isinstance(version, str) or not isinstance(config, dict):
        raise TypeError("pyproject.toml")
    plugins = from_pyproject(about) or ()
    if not all(plugin.files & files.keys() for plugin in plugins):
        raise ValueError("a plug-in without its file")
    listed = about["tool"]["fedskin"].get("methods", {}) if plugins else {}
    methods = {name: declared(table) for name, table in listed.items()}
    if methods.keys() != {plugin.name for plugin in plugins if plugin.group == METHODS.group}:
        raise ValueError("a method that says nothing of its messages")
    return Bundle(content, printable(version), files, config, plugins, methods)


def _check_names(members: Iterable[zipfile.ZipInfo]) -> None:
    """Check that each name belongs to one file, and means the same to a person, Python and any
    disk.
    """
    files: set[str] = set()
    folders: set[str] = set()
    for member in members:
        name = member.filename
        alike = name.lower()  # the same file on a disk that ignores case
        above = {str(path) for path in PurePosixPath(alike).parents}
        if (
            member.orig_filename != name  # it was cut at a NUL
            or not is_plain_name(name)
            or alike in files | folders
            or above & files
        ):
            raise _Name(printable(member.orig_filename, MAX_NAME))
        files.add(alike)
        folders |= above


class Approvals:
    """A site's list of approved bundles.

    Args:
        folder: ``approved/``, with each bundle as ``<sha256>.fab``, and approved.json, which alone
            decides which of them may run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listed(self) -> dict[str, dict[str, str]]:
        """Return ``version`` and ``approved`` (the time) by sha256, the oldest first.

        Raises:
            OperationError: approved.json is damaged.
        """
        path = self._folder / "approved.json"
        listed = read_json(path) or {}
        if not all(map(_is_entry, listed.values())):
            raise OperationError(f"{path}: is damaged; restore it from a backup")
        return listed

    def approve(self, bundle: Bundle) -> None:
        """Add a bundle to the list, as the latest."""
        write_bytes(self._file(bundle.sha256), bundle.content)
        listed = self.listed()
        listed.pop(bundle.sha256, None)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        listed[bundle.sha256] = {"version": bundle.version, "approved": when}
        write_json(self._folder / "approved.json", listed)

    def withdraw(self, prefix: str) -> str:
        """Remove a bundle from the list, and return its sha256.

        Raises:
            OperationError: the prefix matches none of them, or several.
        """
        listed = self.listed()
        found = [sha256 for sha256 in listed if prefix and sha256.startswith(prefix.lower())]
        if len(found) != 1:
            raise OperationError(
                f"{prefix}: begins the sha256 of {len(found)} approved bundles; see  fedskin site "
                "approved  and write enough of it"
            )
        del listed[found[0]]
        write_json(self._folder / "approved.json", listed)
        self._file(found[0]).unlink(missing_ok=True)
        return found[0]

    def find(self, sha256: str) -> Bundle | None:
        """Return an approved bundle from this site's own disk; None if it is not approved.

        Raises:
            OperationError: the list or the file is damaged.
        """
        if sha256 not in self.listed():
            return None
        bundle = open_bundle(self._file(sha256))
        if bundle.sha256 != sha256:
            raise OperationError(
                f"{self._file(sha256)}: was changed; withdraw it and approve it again"
            )
        return bundle

    def latest(self) -> Bundle | None:
        """Return the bundle that was approved last, if any.

        Raises:
            OperationError: see `find`.
        """
        listed = list(self.listed())
        return self.find(listed[-1]) if listed else None

    def _file(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.fab"


def _is_entry(facts: object) -> bool:
    return (
        isinstance(facts, dict)
        and facts.keys() == {"version", "approved"}
        and all(isinstance(said, str) for said in facts.values())
    )


def changed_files(before: Bundle, after: Bundle) -> dict[str, list[str]]:
    """Return the names of the files that were ``added``, ``removed`` and ``changed``."""
    old, new = before.files, after.files
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }
