"""A kill between two changes of files, as it looks from inside the process."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import operation.files
import training.rounds_file

# Files that nobody reads, still being written or a lock: after a kill, the system removes locks.
_HIDDEN = re.compile(r"\..+\.\d+\.tmp|\.lock")

_NOT_COMPARED = (".lock", "config.toml", "manifest.json", "flower.log")


class Killed(BaseException):
    """What a kill looks like from inside: no handler of ours sees it."""


class FileChanges:
    """Counts the changes of files by all threads: one gets its name, or is removed.

    Attributes:
        done: so many were made.
    """

    def __init__(self, allowed: float) -> None:
        self.done = 0
        self._allowed = allowed

    def count(self, path: Path, half_done: Callable[[Path], None] | None = None) -> None:
        """Count a change that is about to be made; after the last one that is allowed, raise.

        Args:
            path: what is changed.
            half_done: does half of the change to the file of a path, where that is possible.
        """
        if self.done == self._allowed:
            if half_done is not None:
                half_done(path)
            raise Killed
        self.done += 1


class FolderCopies(FileChanges):
    """Copies a folder before each change in it: what a kill at that moment would leave.

    Attributes:
        made: the copies.
    """

    def __init__(self, folder: Path, to: Path) -> None:
        super().__init__(float("inf"))
        self.made: list[Path] = []
        self._folder, self._to = folder, to

    def count(self, path: Path, half_done: Callable[[Path], None] | None = None) -> None:
        super().count(path)
        copy = self._to / str(len(self.made))
        if self._folder.exists():
            shutil.copytree(self._folder, copy, ignore=_hidden)
        if half_done is not None:
            half_done(copy / path.relative_to(self._folder))
        self.made.append(copy)


def _hidden(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if _HIDDEN.fullmatch(name)]


@contextmanager
def killed_after(allowed: float = float("inf")) -> Iterator[FileChanges]:
    """Refuse every change of a file after so many, also those that clean up, as after a kill.

    Of what is to be added to a file, half is added.
    """
    with _counted(changes := FileChanges(allowed)):
        yield changes


@contextmanager
def kept_at_every_change(folder: Path, to: Path) -> Iterator[list[Path]]:
    """Yield the folders below ``to`` that kills, one before each change of a file, would leave."""
    with _counted(copies := FolderCopies(folder, to)):
        yield copies.made


@contextmanager
def _counted(changes: FileChanges) -> Iterator[None]:
    append_bytes = operation.files.append_bytes
    replace, unlink, rmtree = Path.replace, Path.unlink, shutil.rmtree
    lock = threading.RLock()

    def counted_replace(path: Path, target: Path) -> Path:
        with lock:
            changes.count(path)
            return replace(path, target)

    def counted_unlink(path: Path, missing_ok: bool = False) -> None:
        with lock:
            if path.exists() and not _HIDDEN.fullmatch(path.name):
                changes.count(path)
            unlink(path, missing_ok)

    def counted_append(path: Path, content: bytes) -> None:
        half = content[: len(content) // 2]
        with lock:
            changes.count(path, lambda path: append_bytes(path, half))
            append_bytes(path, content)

    def counted_rmtree(path: Path, ignore_errors: bool = False) -> None:
        with lock:
            changes.count(path)
            rmtree(path, ignore_errors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", counted_rmtree)
        patch.setattr(training.rounds_file, "append_bytes", counted_append)
        patch.setattr(Path, "replace", counted_replace)
        patch.setattr(Path, "unlink", counted_unlink)
        yield


def contents(folder: Path) -> dict[str, Any]:
    """Return what is in a run folder's files, by name: of a run's own JSON without the seconds.

    What says when or where it ran is left out: the config, the manifest, the log and the heads,
    which are zip archives.
    """
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_dir() or name in _NOT_COMPARED or path.suffix == ".skops":
            continue
        if path.suffix == ".json":
            found[name] = _without_seconds(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            lines = path.read_text().splitlines()
            found[name] = [_without_seconds(json.loads(line)) for line in lines]
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_seconds(v) for key, v in value.items() if key != "seconds"}
    return [_without_seconds(v) for v in value] if isinstance(value, list) else value
