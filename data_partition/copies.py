"""Images of one data set that have identical pixels under several ids."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Copies:
    """Images with identical pixels.

    Attributes:
        ids: ids of the images, two or more, sorted.
        groups: the lesion (or patient) of each, None if unknown.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str | None, ...]

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
