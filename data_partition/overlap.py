"""Test images that are also in training, where figures on them would flatter."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from data_partition.errors import DataError

# Named in a message of one line; a report and the manifest name all.
_NAMED = 3


@dataclass(frozen=True)
class Match:
    """Why a test image is taken for one of training.

    Attributes:
        kind: ``same id``; ``same file``, byte by byte; ``same pixels``; or ``same lesion``, in
            another picture. The first that holds, in this order.
        image_id: an image of training that it is, or whose lesion it shows.
    """

    kind: str
    image_id: str

    def __str__(self) -> str:
        if self.kind == "same id":
            return self.kind
        return f"{self.kind} as {self.image_id}"


@dataclass(frozen=True)
class Overlap:
    """The test images that are also in training.

    Attributes:
        matches: why, by id of the test image, in the test set's order.
        num_test: how many test images were looked at.
        lesions_known: whether both sides name lesions, so that ``same lesion`` could be found.
    """

    matches: dict[str, Match]
    num_test: int
    lesions_known: bool

    def __len__(self) -> int:
        return len(self.matches)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {
            "test_images": self.num_test,
            "in_training": len(self),
            "by_reason": dict(Counter(match.kind for match in self.matches.values())),
            "lesions_known": self.lesions_known,
            "images": {image_id: str(match) for image_id, match in self.matches.items()},
        }


def find_overlap(train: pd.DataFrame, test: pd.DataFrame) -> Overlap:
    """Look for test images in training, by id, file, pixels and lesion.

    Args:
        train, test: columns ``image_id``, ``lesion_id``, ``files_sha256`` and ``pixels_sha256``,
            as of image stores of one side. An image with a missing cell is like no other by it.
    """
    ids = set(train["image_id"])
    # Of several the first is named. Slices of one volume have the same files: their pixels, too,
    # must be the same.
    files = _first_ids(train, _keys(train, "pixels_sha256", "files_sha256"))
    pixels = _first_ids(train, _keys(train, "pixels_sha256"))
    lesions = _first_ids(train, _keys(train, "lesion_id"))
    matches = {}
    for image_id, in_file, in_pixels, in_lesion in zip(
        test["image_id"],
        map(files.get, _keys(test, "pixels_sha256", "files_sha256")),
        map(pixels.get, _keys(test, "pixels_sha256")),
        map(lesions.get, _keys(test, "lesion_id")),
        strict=True,
    ):
        if image_id in ids:
            matches[image_id] = Match("same id", image_id)
        elif in_file is not None:
            matches[image_id] = Match("same file", in_file)
        elif in_pixels is not None:
            matches[image_id] = Match("same pixels", in_pixels)
        elif in_lesion is not None:
            matches[image_id] = Match("same lesion", in_lesion)
    known = all(bool(rows["lesion_id"].notna().any()) for rows in (train, test))
    return Overlap(matches, len(test), known)


def refuse(found: Overlap) -> None:
    """Do nothing where there is no overlap.

    Raises:
        DataError: there is some.
    """
    if not found:
        return
    named = [f"{image_id}: {match}" for image_id, match in found.matches.items()]
    more = ", …" if len(named) > _NAMED else ""
    raise DataError(
        f"{len(found)} of {found.num_test} test images are also in training "
        f"({', '.join(named[:_NAMED])}{more}); take them out of the test set, or evaluate "
        "anyway with allow-overlap = true"
    )


def _keys(rows: pd.DataFrame, *columns: str) -> list[Hashable | None]:
    """Return the cells of each row, together; None where one is missing."""
    cells: Iterable[tuple[Any, ...]] = rows[list(columns)].itertuples(index=False, name=None)
    return [row if all(isinstance(cell, str) for cell in row) else None for row in cells]


def _first_ids(rows: pd.DataFrame, keys: list[Hashable | None]) -> dict[Hashable, str]:
    first: dict[Hashable, str] = {}
    for key, image_id in zip(keys, rows["image_id"], strict=True):
        if key is not None:
            first.setdefault(key, image_id)
    return first
