"""Images decoded once and stored as one array that all processes of a machine share."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd
from filelock import FileLock

from data_partition.errors import DataError
from data_partition.image_reader import Unusable
from data_partition.image_table import GroupedBy, ImageTable
from data_partition.store_files import Stamp, stamps_of, write_files
from data_partition.unread_files import SetAside, merge_set_aside
from operation.files import creating_folder, parse_json

ProgressCallback = Callable[[int, int], None]
"""Called in the caller's thread with (images done, images in total), while images are decoded."""

# Part of the key: increase it whenever a change makes the same files give other bytes.
FORMAT = 3
COLUMNS = ["image_id", "label", "lesion_id", "source"]
SPLIT = "split"
# The columns by which copies are found; see ``data_partition/copies.py``.
DIGESTS = ["files_sha256", "pixels_sha256"]


@dataclass(frozen=True)
class ImageStore:
    """The decoded images of one data set at one size.

    Attributes:
        images: uint8 (N, side, side, 3), memory-mapped and read-only; row i is ``rows`` row i.
        rows: columns ``image_id`` (str), ``label`` (str), ``lesion_id`` and ``source`` (str or
            None), ``split`` (str) if the data set is already split, ``files_sha256`` (str in hex,
            of the bytes of the image's files), and ``pixels_sha256`` (str in hex, of its pixels as
            stored; None if all have the same colour); sorted by ``image_id``, index 0 … N - 1.
        labels: int64 (N,), the label's index in ``classes``.
        fingerprint: sha256 in hex over every image's id, label, lesion, source, split (if any) and
            the sha256 of its files' bytes. It identifies the data, independent of machine, folder,
            layout, file times and ``side``.
        set_aside: the table's, and the images that could not be decoded.
        grouped_by: what ``lesion_id`` names.
    """

    images: np.memmap
    rows: pd.DataFrame
    labels: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str
    set_aside: dict[str, tuple[str, ...]]
    grouped_by: GroupedBy = "lesion"
    sliced: bool = False
    notices: tuple[str, ...] = ()


def store_side(image_size: int) -> int:
    """Return the side of stored images, in pixels, for a network input of ``image_size``.

    The ratio is the study's (docs/study.md), 256 to 224.
    """
    return round(image_size * 256 / 224)


def open_store(
    table: ImageTable, *, side: int, cache_dir: Path, progress: ProgressCallback | None = None
) -> ImageStore:
    """Open the store of a table's images; build it first if there is none for these files.

    The store is in ``cache_dir/images/<key>``. The key covers the table, and of every file the
    size, modification time (mtime) and status change time (ctime). Programs cannot set the ctime,
    so a replaced file gives a new store even if its size and mtime were kept. A file that was only
    touched also gives a new store. Hashing all bytes at every opening would take as long as reading
    the data set. The store is written atomically. If several processes need the same one, one of
    them builds it and the others wait.

    Args:
        table: the images; damaged images are set aside.
        side: stored height and width, in pixels.

    Raises:
        DataError: a file is missing or cannot be read, no image is usable, or the cache cannot be
            written.
    """
    root = cache_dir / "images"
    stamps = stamps_of(table)
    folder = root / _key(table, side, stamps)
    if not folder.is_dir():
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".lock"):
                if not folder.is_dir():
                    _remove_leftovers(root)
                    _build(table, side, stamps, folder, progress)
        except OSError as error:
            raise DataError(
                f"{root}: the image store cannot be written ({error.strerror or error}); "
                "choose another cache-dir or free disk space"
            ) from error
    with suppress(OSError):  # in somebody else's cache
        folder.touch()  # when it was last used, for `training.cache_folder`
    return _open(folder, table)


def has_store(table: ImageTable, *, side: int, cache_dir: Path) -> bool:
    """Return whether `open_store` would find a store of these files.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    return (cache_dir / "images" / _key(table, side, stamps_of(table))).is_dir()


def _key(table: ImageTable, side: int, stamps: dict[str, Stamp]) -> str:
    facts = [FORMAT, side, table.classes, table.reader.settings, table.rows.columns.tolist()]
    digest = hashlib.sha256(json.dumps(facts).encode())
    rows = table.rows.itertuples(index=False, name=None)
    for row, files in zip(rows, table.reader.files(table.rows), strict=True):
        digest.update(json.dumps([*map(_plain, row), *(stamps[p] for p in files)]).encode())
    return digest.hexdigest()


def _plain(value: Any) -> str | None:
    """Return a cell as text, or None; pandas may store a missing cell as None or as NaN."""
    return value if isinstance(value, str) else None


def _remove_leftovers(root: Path) -> None:
    """Delete the files of killed builds; the lock ensures that no build is running."""
    for leftover in root.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _build(
    table: ImageTable,
    side: int,
    stamps: dict[str, Stamp],
    folder: Path,
    progress: ProgressCallback | None,
) -> None:
    root, total = folder.parent, len(table.rows)
    needed = total * side * side * 3
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DataError(
            f"{root}: the image store needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free; choose another cache-dir or free disk space"
        )
    with creating_folder(folder) as building:
        with (building / "images.npy").open("wb") as file:
            _write_header(file, total, side)
            # Written, not memory-mapped: a full disk then gives an OSError instead of a SIGBUS.
            decoded = decode_usable(table, side, file.write, progress)
            # NumPy pads the header, so the number of rows can be changed in place.
            file.seek(0)
            _write_header(file, len(decoded.kept), side)
        if not decoded.kept:
            reason, names = next(iter(decoded.set_aside.items()))
            raise DataError(
                f"none of the {total} images of this data set can be used ({reason}: {names[0]}"
                f"{', …' if len(names) > 1 else ''}); fetch the data set again"
            )
        columns = [*COLUMNS, SPLIT] if SPLIT in table.rows else COLUMNS
        rows = table.rows[columns].iloc[decoded.kept].map(_plain)
        lines = sorted(
            json.dumps([*row, files_sha256])
            for row, (files_sha256, _) in zip(
                rows.itertuples(index=False, name=None), decoded.digests, strict=True
            )
        )
        rows[DIGESTS] = decoded.digests
        rows.to_csv(building / "rows.csv", index=False)
        facts = {
            "fingerprint": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "set_aside": decoded.set_aside,
        }
        (building / "store.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        write_files(building, stamps)
        # A power failure after the rename must not leave an empty file.
        for path in building.iterdir():
            with path.open("rb") as written:
                os.fsync(written.fileno())


class DecodedImages(NamedTuple):
    """What was found when the images of a table were decoded."""

    kept: list[int]  # the row numbers of the usable ones
    digests: list[tuple[str, str | None]]  # their `DIGESTS`
    set_aside: SetAside  # the names of the others by reason


def decode_usable(
    table: ImageTable,
    side: int,
    keep: Callable[[bytes], object],
    progress: ProgressCallback | None = None,
) -> DecodedImages:
    """Decode a table's images, and give the pixels of each usable one to ``keep``, in order."""
    kept: list[int] = []
    digests: list[tuple[str, str | None]] = []
    # Dictionaries as ordered sets: all slices of a patient have the same patient id.
    set_aside: dict[str, dict[str, None]] = {}
    for done, image in enumerate(table.reader.decode(table.rows, side), start=1):
        if isinstance(image, Unusable):
            set_aside.setdefault(image.reason, {})[image.name] = None
        else:
            keep(image.pixels)
            kept.append(done - 1)
            digests.append((image.sha256, image.pixels_sha256()))
        if progress is not None:
            progress(done, len(table.rows))
    return DecodedImages(kept, digests, merge_set_aside(set_aside))


def _write_header(file: IO[bytes], num_images: int, side: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (num_images, side, side, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _open(folder: Path, table: ImageTable) -> ImageStore:
    facts = parse_json((folder / "store.json").read_text(encoding="utf-8"))
    # An id or class may be "NA" or "007": types are not guessed, and only an empty cell is missing.
    rows = pd.read_csv(folder / "rows.csv", dtype=str, keep_default_na=False)
    rows = rows.mask(rows == "", None)
    class_index = {name: index for index, name in enumerate(table.classes)}
    return ImageStore(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        rows=rows,
        labels=rows["label"].map(class_index).to_numpy(dtype=np.int64),
        classes=table.classes,
        fingerprint=facts["fingerprint"],
        set_aside=merge_set_aside(table.set_aside, facts["set_aside"]),
        grouped_by=table.grouped_by,
        sliced=table.sliced,
        notices=table.notices,
    )
