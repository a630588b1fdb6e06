"""Images with identical pixels, under several ids of one data set or in training and test."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from data_partition.errors import DataError


@dataclass(frozen=True)
class Copies:
    """Images with identical pixels."""

    ids: tuple[str, ...]  # ids of the images, two or more, sorted
    labels: tuple[str, ...]
    groups: tuple[str | None, ...]  # the lesion (or patient) of each, None if unknown

    @property
    def contradicting(self) -> bool:
        """Whether their labels differ, so that at least one is wrong."""
        return len(set(self.labels)) > 1

    def __str__(self) -> str:
        named = zip(self.ids, self.labels, self.groups, strict=True)
        return " = ".join(
            f"{id_} ({label}{f', {group}' if group else ''})" for id_, label, group in named
        )


def find_copies(rows: pd.DataFrame) -> list[Copies]:
    """Find the images that have identical pixels.

    Args:
        rows: columns ``image_id``, ``label``, ``lesion_id`` and ``pixels_sha256``, as in an image
            store; an image without a hash is never a copy.

    Returns:
        The groups of copies: first those with contradicting labels, then by their first id.
    """
    several = rows[rows["pixels_sha256"].notna() & rows["pixels_sha256"].duplicated(keep=False)]
    found = []
    for _, images in several.sort_values("image_id").groupby("pixels_sha256", sort=False):
        groups = (group if isinstance(group, str) else None for group in images["lesion_id"])
        found.append(Copies(tuple(images["image_id"]), tuple(images["label"]), tuple(groups)))
    return sorted(found, key=lambda copies: (not copies.contradicting, copies.ids))


def num_straddling(rows: pd.DataFrame, places: Sequence[Hashable]) -> int:
    """Count the groups of images with identical pixels that are in more than one place.

    Args:
        rows: n rows with the column ``pixels_sha256``.
        places: client and split of each image; None if it has neither.
    """
    held = pd.DataFrame({"pixels": rows["pixels_sha256"].to_numpy(), "place": list(places)})
    return int((held.dropna().groupby("pixels")["place"].nunique() > 1).sum())


# Most images named in a message of one line; report and manifest name all.
_NAMED = 3


@dataclass(frozen=True)
class Match:
    """Why a test image counts as being in training."""

    # ``same id``; ``same file``, byte by byte; ``same pixels``; or ``same lesion``, in another
    # image. The first in this order that is true.
    kind: str
    image_id: str  # the training image that it equals, or whose lesion it shows

    def __str__(self) -> str:
        if self.kind == "same id":
            return self.kind
        return f"{self.kind} as {self.image_id}"


@dataclass(frozen=True)
class Overlap:
    """The test images that are also in training."""

    matches: dict[str, Match]  # the reason by id of the test image, in the test set's order
    num_test: int  # number of test images that were checked
    lesions_known: bool  # whether both sets name lesions, so that ``same lesion`` could be found

    def __len__(self) -> int:
        return len(self.matches)

    def describe(self) -> dict[str, Any]:
        """Return the manifest's entry."""
        return {
            "test_images": self.num_test,
            "in_training": len(self),
            "by_reason": dict(Counter(match.kind for match in self.matches.values())),
            "lesions_known": self.lesions_known,
            "images": {image_id: str(match) for image_id, match in self.matches.items()},
        }


def find_overlap(train: pd.DataFrame, test: pd.DataFrame) -> Overlap:
    """Find test images that are in training, by id, file, pixels and lesion.

    Args:
        train, test: columns ``image_id``, ``lesion_id``, ``files_sha256`` and ``pixels_sha256``,
            as in image stores of equal side. A missing cell equals no other.
    """
    ids = set(train["image_id"])
    # Of several matches the first is named. Slices of one volume have the same files, so for them
    # the pixels must be equal, too.
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


def refuse(found: Overlap, remedy: str = "take them out of the test set") -> None:
    """Refuse a test set with images that are also in training.

    Args:
        remedy: beside ``allow-overlap``.

    Raises:
        DataError: there are such images; the message names some.
    """
    if not found:
        return
    named = [f"{image_id}: {match}" for image_id, match in found.matches.items()]
    more = ", …" if len(named) > _NAMED else ""
    raise DataError(
        f"{len(found)} of {found.num_test} test images are also in training "
        f"({', '.join(named[:_NAMED])}{more}); {remedy}, or evaluate anyway with allow-overlap = "
        "true"
    )


def _keys(rows: pd.DataFrame, *columns: str) -> list[Hashable | None]:
    """Return the cells of each row as a tuple; None if one is missing."""
    cells: Iterable[tuple[Any, ...]] = rows[list(columns)].itertuples(index=False, name=None)
    return [row if all(isinstance(cell, str) for cell in row) else None for row in cells]


def _first_ids(rows: pd.DataFrame, keys: list[Hashable | None]) -> dict[Hashable, str]:
    first: dict[Hashable, str] = {}
    for key, image_id in zip(keys, rows["image_id"], strict=True):
        if key is not None:
            first.setdefault(key, image_id)
    return first
