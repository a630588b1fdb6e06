"""Images of one data set that have identical pixels under several ids."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Copies:
    """Images with identical pixels.

    Attributes:
        ids: of the images, two or more, sorted.
        labels: the label of each.
        groups: the lesion (or patient) of each, None where unknown.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str | None, ...]

    @property
    def contradicting(self) -> bool:
        """Whether their labels differ: at least one is wrong."""
        return len(set(self.labels)) > 1

    def __str__(self) -> str:
        named = zip(self.ids, self.labels, self.groups, strict=True)
        return " = ".join(
            f"{id_} ({label}{f', {group}' if group else ''})" for id_, label, group in named
        )


def find_copies(rows: pd.DataFrame) -> list[Copies]:
    """Find the images that have identical pixels.

    Args:
        rows: columns ``image_id``, ``label``, ``lesion_id`` and ``pixels_sha256``, as of an image
            store; images without the latter are copies of none.

    Returns:
        Those with contradicting labels first, then in order of their first ids.
    """
    several = rows[rows["pixels_sha256"].notna() & rows["pixels_sha256"].duplicated(keep=False)]
    found = []
    for _, images in several.sort_values("image_id").groupby("pixels_sha256", sort=False):
        groups = (group if isinstance(group, str) else None for group in images["lesion_id"])
        found.append(Copies(tuple(images["image_id"]), tuple(images["label"]), tuple(groups)))
    return sorted(found, key=lambda copies: (not copies.contradicting, copies.ids))


def num_straddling(rows: pd.DataFrame, places: Sequence[Hashable]) -> int:
    """Count the groups of images with identical pixels that are not all in one place.

    Args:
        rows: n rows with the column ``pixels_sha256``.
        places: where each image is: its client and split. Those with None are nowhere.
    """
    held = pd.DataFrame({"pixels": rows["pixels_sha256"].to_numpy(), "place": list(places)})
    return int((held.dropna().groupby("pixels")["place"].nunique() > 1).sum())
