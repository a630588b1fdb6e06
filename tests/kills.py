"""A kill between two changes of files, as it looks from inside the process."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
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
        self._lock = threading.Lock()

    def count(self) -> None:
        """Count a change that is about to be made; after the last one that is allowed, raise."""
        with self._lock:
            if self.done == self._allowed:
                raise Killed
            self.done += 1


@contextmanager
def killed_after(allowed: float = float("inf")) -> Iterator[FileChanges]:
    """Refuse every change of a file after so many, also those that clean up, as after a kill.

    Of what is to be added to a file, half is added.
    """
    changes = FileChanges(allowed)
    append_bytes = operation.files.append_bytes
    replace, unlink, rmtree = Path.replace, Path.unlink, shutil.rmtree

    def counted_replace(path: Path, target: Path) -> Path:
        changes.count()
        return replace(path, target)

    def counted_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.exists() and not _HIDDEN.fullmatch(path.name):
            changes.count()
        unlink(path, missing_ok)

    def counted_append(path: Path, content: bytes) -> None:
        try:
            changes.count()
        except Killed:
            append_bytes(path, content[: len(content) // 2])
            raise
        append_bytes(path, content)

    def counted_rmtree(path: Path, ignore_errors: bool = False) -> None:
        changes.count()
        rmtree(path, ignore_errors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", counted_rmtree)
        patch.setattr(training.rounds_file, "append_bytes", counted_append)
        patch.setattr(Path, "replace", counted_replace)
        patch.setattr(Path, "unlink", counted_unlink)
        yield changes


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
