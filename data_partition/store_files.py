"""The files that an image store was made of: which they are, and whether they have changed."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from data_partition.errors import DataError
from data_partition.image_table import ImageTable
from operation.files import parse_json

# In the store's folder.
_NAME = "files.json"


class Stamp(NamedTuple):
    """A file's path, its size in bytes, and the times, in nanoseconds, of its last changes."""

    path: str
    size: int
    mtime: int
    ctime: int


def stamps_of(table: ImageTable) -> dict[str, Stamp]:
    """Return the stamp of each file of a table, by path.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    stamps: dict[str, Stamp] = {}
    for files in table.reader.files(table.rows):
        for path in files:
            if path not in stamps:
                try:
                    stamps[path] = _stamp(path)
                except OSError as error:
                    raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return stamps


def write_files(store: Path, stamps: dict[str, Stamp]) -> None:
    """Write into a store's folder which files it was made of."""
    (store / _NAME).write_text(json.dumps(list(stamps.values())), encoding="utf-8")


def made_of(store: Path) -> tuple[str, str]:
    """Return where the files of a store are, and why no run can open it again.

    Returns:
        The folder that holds all of them, "" if the store does not say it; and "" if they are as
        they were.
    """
    try:
        stamps = [
            Stamp(*entry) for entry in parse_json((store / _NAME).read_text(encoding="utf-8"))
        ]
        folder = os.path.commonpath([Path(stamp.path).parent for stamp in stamps])
    except (OSError, TypeError, ValueError):  # of an earlier version, or damaged
        return "", ""
    if not Path(folder).is_dir():
        return folder, "the folder is gone"
    return folder, "" if all(map(_is_unchanged, stamps)) else "its images have changed"


def _stamp(path: str) -> Stamp:
    stat = os.stat(path)  # noqa: PTH116 - a Path per image doubles the time to open
    return Stamp(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _is_unchanged(stamp: Stamp) -> bool:
    try:
        return _stamp(stamp.path) == stamp
    except OSError:
        return False
