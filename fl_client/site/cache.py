"""A site's cache, limited to the size in its policy.

Everything in it can be made again: decoded images at each requested size, and the features and text
features of each network.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_partition.image_store import store_side
from strategies.refusal import Refused

# Prefix of names while they are written; the next writer removes what an earlier one left.
_UNFINISHED = "."


class _Kept(NamedTuple):
    """An entry of the cache.

    Attributes:
        used: when it was last used: a file's access time, a folder's modification time.
        path: a file, or an image store's folder.
        size: in bytes.
        images: shape (N, side, side, 3) of an image store; () of anything else.
    """

    used: float
    path: Path
    size: int
    images: tuple[int, ...]


def make_room(cache: Path, image_size: int, most: int) -> None:
    """Remove what was unused for the longest time, so that a run's images have room within the
    bound.

    The images of the requested size are never removed, unless they belong to files that have
    changed. If they do not exist yet, as many are expected as there are of another size.

    Args:
        most: maximum bytes of the cache, including images of that size.

    Raises:
        Refused: the images of that size alone need more; nothing is removed then.
    """
    found = _kept(cache)
    side = store_side(image_size)
    stores = [one for one in found if one.images]
    # Older ones of the same size belong to files that have changed since.
    in_use = max((one for one in stores if one.images[1:2] == (side,)), default=None)
    number = max((one.images[0] for one in stores), default=0)
    needed = in_use.size if in_use else number * side * side * 3
    if needed > most:
        raise Refused(
            f"image-size = {image_size}: its images take {needed / 1e9:.1f} GB, and its policy "
            f"allows max-cache-bytes = {most}"
        )
    others = sorted(one for one in found if one is not in_use)
    while others and needed + sum(one.size for one in others) > most:
        _remove(others.pop(0).path)


def _kept(cache: Path) -> list[_Kept]:
    folders = [path for path in (cache / "images").glob("*") if path.is_dir()]
    files = [
        path
        for kind in ("features", "text-features")
        for path in (cache / kind).glob("*")
        if path.is_file()
    ]
    return [
        _Kept(
            path.stat().st_mtime,
            path,
            sum(file.stat().st_size for file in path.iterdir()),
            _shape(path / "images.npy"),
        )
        for path in folders
        if not path.name.startswith(_UNFINISHED)
    ] + [_Kept(path.stat().st_atime, path, path.stat().st_size, ()) for path in files]


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return tuple(np.load(path, mmap_mode="r").shape)
    except (EOFError, OSError, ValueError):  # damaged
        return ()


def _remove(path: Path) -> None:
    if path.is_file():
        path.unlink(missing_ok=True)
        return
    # Renamed first, so that no incomplete store has the final name.
    gone = path.with_name(f"{_UNFINISHED}{path.name}.removed.tmp")
    path.rename(gone)
    shutil.rmtree(gone)
