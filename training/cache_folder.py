"""What a cache folder holds: image stores, which images look alike, and features and text
features of networks.

Everything in it can be made again.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_partition.store_files import made_of

# Prefix of names while they are written; the next writer removes what an earlier one left.
_UNFINISHED = "."


class CacheEntry(NamedTuple):
    """An entry of the cache."""

    used: float  # when it was last used: a file's access time, a folder's modification time
    path: Path  # a file, or an image store's folder
    size: int  # in bytes
    images: tuple[int, ...]  # shape (N, side, side, 3) of an image store; () of anything else

    @property
    def title(self) -> str:
        """What it is, in words."""
        if not self.images:
            return self.path.parent.name.replace("-", " ")
        number, height, width, _ = self.images
        return f"{number} images of {height} x {width}"

    def origin(self) -> tuple[str, str]:
        """Return the folder of its images, "" if unknown, and why no run can use it, or ""."""
        if self.path.parent.name != "images":
            return "", ""
        return made_of(self.path) if self.images else ("", "damaged")


def entries(cache: Path) -> list[CacheEntry]:
    """Return what a cache folder holds, which may not exist; image stores first."""
    folders = [path for path in (cache / "images").glob("*") if path.is_dir()]
    files = [
        path
        for kind in ("features", "looks", "text-features")
        for path in (cache / kind).glob("*.safetensors")
        if path.is_file()
    ]
    return [
        CacheEntry(
            path.stat().st_mtime,
            path,
            sum(file.stat().st_size for file in path.iterdir()),
            _shape(path / "images.npy"),
        )
        for path in folders
        if not path.name.startswith(_UNFINISHED)
    ] + [CacheEntry(path.stat().st_atime, path, path.stat().st_size, ()) for path in files]


def remove(entry: CacheEntry) -> None:
    """Remove an entry of the cache. A process that has it open can still read it."""
    path = entry.path
    if path.is_file():
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)  # of who computes it
        return
    # Renamed first, so that no incomplete store has the final name.
    gone = path.with_name(f"{_UNFINISHED}{path.name}.removed.tmp")
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)  # what a builder of a store removed meanwhile


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return tuple(np.load(path, mmap_mode="r").shape)
    except (EOFError, OSError, ValueError):  # damaged
        return ()
