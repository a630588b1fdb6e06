"""The images to classify with ``fedskin predict``: files, folders of files, and cases."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from data_partition.image_files import IMAGE_SUFFIXES, FoundFile, find_files
from data_partition.image_reader import Unusable
from data_partition.image_store import store_side
from data_partition.image_table import ImageTable
from data_partition.own_label_table import SUFFIXES, named_images
from data_partition.unread_files import UNREAD_ARCHIVES, UNREAD_IMAGES, remedy, unread_files
from experiments.console import Console
from training.config import ExperimentConfig
from training.release import read_as, reading

# The approximate number of decoded images that are not classified yet.
_AT_ONCE = 512

# How many suffixes of a folder without images are named.
_NAMED = 3

_READ = "a photograph (JPEG, PNG, TIFF, BMP, WebP or GIF), or a folder of JPEG and PNG files"


@dataclass(frozen=True)
class ImageBatch:
    """Some of the images, decoded as in an image store."""

    # N rows: ``image``, the file's path or the slice's name; ``name``, the image's name in the
    # table of results; ``patient``, None except for slices of cases.
    rows: pd.DataFrame
    pixels: NDArray[np.uint8]  # (n, S, S, 3), S being the store's side
    # Path and archive member of each image's file; None for slices of cases.
    places: list[tuple[str, str]] | None


class _Row(NamedTuple):
    image: str
    name: str
    patient: str | None
    path: str | None
    member: str | None


def find_images(paths: Sequence[Path], config: ExperimentConfig) -> list[tuple[Path, ImageTable]]:
    """Find the images without decoding them; return each path with a table of its images.

    Args:
        paths: image files; folders of image files, zipped or not; tables with a column ``image``
            beside or above the images; for a run on slices folders of cases.

    Raises:
        DataError: a path does not exist, or contains no image.
    """
    return [(path, _find(path, config)) for path in paths]


def decode_images(
    tables: Sequence[tuple[Path, ImageTable]], config: ExperimentConfig, errors: Console
) -> Iterator[ImageBatch]:
    """Decode the images, some hundred at a time, in whole batches of the model.

    Args:
        tables: from `find_images`.
        errors: prints the images that are left out, with the reason.

    Raises:
        DataError: a table has no usable image.
    """
    side = store_side(config.image_size)
    size = config.batch_size * max(1, _AT_ONCE // config.batch_size)
    rows: list[_Row] = []
    pixels: list[bytes] = []
    for path, table in tables:
        left_out = {(name, why) for why, names in table.set_aside.items() for name in names}
        usable = 0
        decoded = read_as(config, table).reader.decode(table.rows, side)
        names = table.rows.get("name", table.rows["image_id"])
        ids, patients = table.rows["image_id"], table.rows["lesion_id"]
        none = [None] * len(ids)
        files = table.rows.get("path", none), table.rows.get("member", none)
        for *row, answer in zip(ids, names, patients, *files, decoded, strict=True):
            if isinstance(answer, Unusable):
                left_out.add((answer.name, answer.reason))
                continue
            usable += 1
            rows.append(_Row(*row))
            pixels.append(answer.pixels)
            if len(rows) == size:
                yield _stacked(rows, pixels, side)
                rows, pixels = [], []
        if not usable:
            wanted = _READ if "path" in table.rows else "another case"
            raise DataError(f"{path}: {_why_none(path, left_out)}; name {wanted}")
        for name, why in sorted(left_out):
            errors.print(f"left out, {why}: {name}", highlight=False)
    if rows:
        yield _stacked(rows, pixels, side)


def _find(path: Path, config: ExperimentConfig) -> ImageTable:
    # A model file names no data set of a package whose images are plain files.
    named = config.dataset != "auto"
    load_unlabelled = find_dataset(config.dataset).load_unlabelled if named else None
    if path.is_dir() and load_unlabelled is not None:
        return load_unlabelled(path, reading(config))
    if path.is_dir():
        files = find_files(path)
        found = [file for file in files if file.is_image]
        if not found:
            raise DataError(
                f"{path}: holds no JPEG or PNG ({', '.join(IMAGE_SUFFIXES)}), {_held(files)}"
            )
        rows = pd.DataFrame(
            {
                "image_id": [str(path.joinpath(*file.parts)) for file in found],
                "name": [file.name for file in found],
                "path": [file.path for file in found],
                "member": [file.member for file in found],
            }
        )
        return ImageTable(rows.assign(lesion_id=None), (), "", unread_files(files))
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        pairs, lacking = named_images(path)
        rows = pd.DataFrame(
            {
                "image_id": [image_id for image_id, _ in pairs],
                "name": [image_id for image_id, _ in pairs],
                "path": [file.path for _, file in pairs],
                "member": [file.member for _, file in pairs],
            }
        )
        return ImageTable(rows.assign(lesion_id=None), (), "", {"row without an image": lacking})
    if path.is_file():
        row = {"image_id": str(path), "name": path.name, "path": str(path.absolute()), "member": ""}
        rows = pd.DataFrame([row])
    else:
        raise DataError(f"{path}: no such image file or folder")
    return ImageTable(rows.assign(lesion_id=None), (), "", {})


def _held(files: Sequence[FoundFile]) -> str:
    """Return which files there are instead of images that are read, and the remedy."""
    if not files:
        return "and no other file; name another folder"
    numbers = Counter(file.suffix for file in files)
    listed = [
        f"{number} {suffix or 'without a suffix'}" for suffix, number in numbers.most_common(_NAMED)
    ]
    more = " and others" if len(numbers) > _NAMED else ""
    unread = [suffix for suffix in numbers if suffix in UNREAD_IMAGES | UNREAD_ARCHIVES]
    remedies = dict.fromkeys(f"{suffix}: {remedy(suffix)}" for suffix in sorted(unread))
    return f"but {', '.join(listed)}{more}; {', '.join(remedies) or 'name another folder'}"


def _why_none(path: Path, left_out: Iterable[tuple[str, str]]) -> str:
    """Return the reasons for which no image of a path is used, each with an image's name."""
    names: dict[str, list[str]] = {}
    for name, why in sorted(left_out):
        names.setdefault(why, []).append(name)
    if all(each == [str(path)] for each in names.values()):
        return ", ".join(names)
    said = (
        f"{why}: {first}{f' and {len(others)} more' if others else ''}"
        for why, (first, *others) in names.items()
    )
    return f"none of its images can be read; {', '.join(said)}"


def _stacked(rows: list[_Row], pixels: list[bytes], side: int) -> ImageBatch:
    stacked = np.frombuffer(b"".join(pixels), dtype=np.uint8)
    table = pd.DataFrame(rows)
    files = table[["path", "member"]]
    return ImageBatch(
        table[["image", "name", "patient"]],
        stacked.reshape(len(rows), side, side, 3),
        None if files.isna().any(axis=None) else list(files.itertuples(index=False, name=None)),
    )
