"""The bundles that may run at a site: looked at, approved by hash, withdrawn."""

import hashlib
import tomllib
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from operation.errors import OperationError
from operation.files import read_json, replacing, write_json

# Flower takes no larger ones.
_MAX_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Bundle:
    """A Flower App bundle as it would run.

    Attributes:
        content: the file's bytes.
        version: the app's.
        files: sha256 of each file's bytes, by name.
        config: the keys that a run may set, with their defaults.
    """

    content: bytes
    version: str
    files: dict[str, str]
    config: dict[str, Any]

    @cached_property
    def sha256(self) -> str:
        """Its hash, which is what is approved."""
        return hashlib.sha256(self.content).hexdigest()


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's file.

    Raises:
        OperationError: it is none, or names a file twice or outside its own folder, so that what
            is shown would not be what runs.
    """
    if not path.is_file():
        raise OperationError(f"{path}: is not there; name the bundle that the coordinator sent")
    if path.stat().st_size > _MAX_BYTES:
        raise OperationError(f"{path}: is larger than a bundle can be; ask for another")
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
            if len(set(names)) < len(names) or not all(map(_stays_inside, names)):
                raise ValueError("names")
            if sum(entry.file_size for entry in archive.infolist()) > 10 * _MAX_BYTES:
                raise ValueError("size")
            files = {
                name: hashlib.sha256(archive.read(name)).hexdigest()
                for name in names
                if not name.startswith(".info/")  # Flower's own list of the others
            }
            about = tomllib.loads(archive.read("pyproject.toml").decode("utf-8"))
        version = str(about["project"]["version"])
        config = dict(about["tool"]["flwr"]["app"].get("config", {}))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, KeyError, RuntimeError):
        raise OperationError(
            f"{path}: is not a whole Flower App bundle; ask the coordinator for it again"
        ) from None
    return Bundle(content, version, files, config)


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not name.startswith("/") and ".." not in parts and "\\" not in name


class Approvals:
    """A site's list of approved bundles.

    Args:
        folder: ``approved/``, with each bundle as ``<sha256>.fab``, and approved.json, which alone
            says which of them may run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listed(self) -> dict[str, dict[str, str]]:
        """Return ``version`` and ``approved`` (when) by sha256, the oldest first.

        Raises:
            OperationError: approved.json is damaged.
        """
        return read_json(self._folder / "approved.json") or {}

    def approve(self, bundle: Bundle) -> None:
        """Put a bundle on the list, as the latest."""
        with replacing(self._file(bundle.sha256)) as temporary:
            temporary.write_bytes(bundle.content)
        listed = self.listed()
        listed.pop(bundle.sha256, None)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        listed[bundle.sha256] = {"version": bundle.version, "approved": when}
        write_json(self._folder / "approved.json", listed)

    def withdraw(self, prefix: str) -> str:
        """Take a bundle off the list, and return its sha256.

        Raises:
            OperationError: the prefix names none of them, or several.
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
            raise OperationError(f"{self._file(sha256)}: was changed; withdraw and approve it anew")
        return bundle

    def latest(self) -> Bundle | None:
        """Return the bundle that was approved last, if any.

        Raises:
            OperationError: as `find`.
        """
        listed = list(self.listed())
        return self.find(listed[-1]) if listed else None

    def _file(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.fab"


def changes(before: Bundle, after: Bundle) -> dict[str, list[str]]:
    """Return the names of the files that were ``added``, ``removed`` and ``changed``."""
    old, new = before.files, after.files
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }
