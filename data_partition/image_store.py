"""Every image decoded once, and kept as one array that all processes of a machine share."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from data_partition.decode import ImageFiles, image_name, rgb_image
from data_partition.errors import DataError
from data_partition.image_table import ImageTable

Progress = Callable[[int, int], None]

# Part of the key: raise it whenever the same files would give other bytes in the store.
FORMAT = 1
COLUMNS = ["image_id", "label", "lesion_id", "source"]
UNREADABLE = "unreadable image"
# Decoded but not yet written images are at most this many.
CHUNK = 256


@dataclass(frozen=True)
class ImageStore:
    """The decoded images of one data set at one size.

    Attributes:
        images: uint8 (N, side, side, 3), memory-mapped and read-only; row i is ``rows`` row i.
        rows: columns ``image_id`` (str), ``label`` (str), ``lesion_id`` and ``source`` (str or
            None), sorted by ``image_id``, index 0 … N - 1.
        labels: int64 (N,), the label's index in ``classes``.
        classes: class names in the order of the network's outputs.
        fingerprint: sha256 in hex over every image's id, label, lesion, source and the sha256 of
            its encoded bytes; says which data these are, whatever the machine, folder, layout,
            file times and ``side``.
        set_aside: the table's, and under "unreadable image" the ids that could not be decoded.
    """

    images: np.memmap
    rows: pd.DataFrame
    labels: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str
    set_aside: dict[str, tuple[str, ...]]


def store_side(image_size: int) -> int:
    """The side at which images are stored, in pixels, for a network input of ``image_size``.

    The study's ratio of 256 to 224.
    """
    return round(image_size * 256 / 224)


def open_store(
    table: ImageTable, *, side: int, cache_dir: Path, progress: Progress | None = None
) -> ImageStore:
    """Open the store of a table's images; build it first if these files have none yet.

    The store lies in ``cache_dir/images/<key>``. The key covers the table and the size and
    modification time of every file, so a changed or touched file means a new store. It appears
    complete or not at all; of several processes that want the same one, one builds and the others
    wait.

    Args:
        table: the images; damaged ones are set aside.
        side: stored height and width, in pixels; images are resized without regard to their
            aspect ratio (bilinear, antialiased).
        cache_dir: where stores are kept; created if need be.
        progress: called with (images done, images in all) while building, from this thread.

    Raises:
        DataError: a file is gone or the system refuses to read it, no image can be decoded, or
            the cache cannot be written.
    """
    root = cache_dir / "images"
    folder = root / _key(table, side)
    if not folder.is_dir():
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".lock"):
                if not folder.is_dir():
                    _remove_leftovers(root)
                    _build(table, side, folder, progress)
        except OSError as error:
            raise DataError(
                f"{root}: the image store cannot be written ({error.strerror or error}); "
                "choose another cache-dir or make room"
            ) from error
    return _open(folder, table)


def _key(table: ImageTable, side: int) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, side, table.classes]).encode())
    stamps: dict[str, tuple[int, int]] = {}
    for row in table.rows[[*COLUMNS, "path", "member"]].itertuples(index=False, name=None):
        path = row[4]
        if path not in stamps:
            try:
                stat = os.stat(path)  # noqa: PTH116 - a Path per image doubles the time to open
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror})") from error
            stamps[path] = (stat.st_size, stat.st_mtime_ns)
        digest.update(json.dumps([*map(_plain, row), *stamps[path]]).encode())
    return digest.hexdigest()


def _plain(value: Any) -> str | None:
    """A cell as text; pandas may hold a missing one as None or as NaN."""
    return value if isinstance(value, str) else None


def _remove_leftovers(root: Path) -> None:
    """Delete what killed builds left. Only the holder of the lock builds, so all of it is dead."""
    for leftover in root.glob(".building-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _build(table: ImageTable, side: int, folder: Path, progress: Progress | None) -> None:
    root, total = folder.parent, len(table.rows)
    needed = total * side * side * 3
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DataError(
            f"{root}: the image store needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free; choose another cache-dir or make room"
        )
    building = root / f".building-{os.getpid()}"
    building.mkdir()
    try:
        kept, file_hashes = _write_images(table, side, building / "images.npy", progress)
        if not kept:
            raise DataError(f"none of the {total} images of this data set can be decoded")
        rows = table.rows[COLUMNS].iloc[kept].map(_plain)
        rows.to_csv(building / "rows.csv", index=False)
        lines = sorted(
            json.dumps([*row, file_hash])
            for row, file_hash in zip(
                rows.itertuples(index=False, name=None), file_hashes, strict=True
            )
        )
        unreadable = set(table.rows["image_id"]) - set(rows["image_id"])
        facts = {
            "fingerprint": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "unreadable": sorted(unreadable),
        }
        (building / "store.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        for path in building.iterdir():
            _sync(path)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    """Force a file to disk, lest a power cut after the rename leaves an empty one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_images(
    table: ImageTable, side: int, path: Path, progress: Progress | None
) -> tuple[list[int], list[str]]:
    """Write the readable images in table order; their row numbers and files' sha256 in hex."""
    kept: list[int] = []
    file_hashes: list[str] = []
    with path.open("wb") as file:
        _write_header(file, len(table.rows), side)
        # Written and not memory-mapped: a full disk is then an OSError and not a SIGBUS.
        for done, (pixels, file_hash) in enumerate(_decoded(table, side), start=1):
            if pixels is not None:
                file.write(pixels)
                kept.append(done - 1)
                file_hashes.append(file_hash)
            if progress is not None:
                progress(done, len(table.rows))
        # NumPy pads the header so that the number of rows can change in place.
        file.seek(0)
        _write_header(file, len(kept), side)
    return kept, file_hashes


def _write_header(file: IO[bytes], num_images: int, side: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (num_images, side, side, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _decoded(table: ImageTable, side: int) -> Iterator[tuple[bytes | None, str]]:
    """In table order: the side * side * 3 bytes, or None if damaged, and the file's sha256."""
    places = list(zip(table.rows["path"], table.rows["member"], strict=True))
    # Threads: Pillow decodes and resizes outside the interpreter lock, and nothing is pickled.
    with ImageFiles() as files, ThreadPoolExecutor(os.cpu_count()) as pool:

        def decode(place: tuple[str, str]) -> tuple[bytes | None, str]:
            return _decode_one(files, *place, side)

        for start in range(0, len(places), CHUNK):
            yield from pool.map(decode, places[start : start + CHUNK])


def _decode_one(files: ImageFiles, path: str, member: str, side: int) -> tuple[bytes | None, str]:
    name = image_name(path, member)
    try:
        data = files.read(path, member)
        # Twice the side: a JPEG reduced while decoding is then still reduced well by the resize.
        image = rgb_image(data, name, reduce_to=2 * side)
    except DataError:
        return None, ""
    except OSError as error:
        # Not the image's fault, and perhaps gone tomorrow: never to be remembered as damage.
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
    resized = image.resize((side, side), Image.Resampling.BILINEAR)
    return resized.tobytes(), hashlib.sha256(data).hexdigest()


def _open(folder: Path, table: ImageTable) -> ImageStore:
    facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    # An id or class may be called "NA" or "007": no guessing, and only an empty cell is missing.
    rows = pd.read_csv(folder / "rows.csv", dtype=str, keep_default_na=False)
    rows = rows.mask(rows == "", None)
    class_index = {name: index for index, name in enumerate(table.classes)}
    set_aside = dict(table.set_aside)
    if facts["unreadable"]:
        set_aside[UNREADABLE] = (*set_aside.get(UNREADABLE, ()), *facts["unreadable"])
    return ImageStore(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        rows=rows,
        labels=rows["label"].map(class_index).to_numpy(dtype=np.int64),
        classes=table.classes,
        fingerprint=facts["fingerprint"],
        set_aside=set_aside,
    )
