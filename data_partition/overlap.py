"""Test images that also stand in the training set, where figures on them would flatter."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_partition.errors import DataError

# Named in a message of one line; a report names all.
_NAMED = 3


class SomeImages(Protocol):
    """Some images of an image store.

    Attributes:
        images: (N, S, S, 3) uint8, all images of the store.
        indices: (n,) which of them are meant.
    """

    @property
    def images(self) -> NDArray[np.uint8]: ...

    @property
    def indices(self) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Overlap:
    """The test images that also stand in the training set.

    Attributes:
        reasons: why, by id of the test image, in the test set's order: ``same id``, or
            ``same pixels as <id of the training image>``.
        num_test: how many test images were looked at.
    """

    reasons: dict[str, str]
    num_test: int

    def __len__(self) -> int:
        return len(self.reasons)

    def lines(self) -> list[str]:
        """Return a line of text for each image, after one that says how many there are."""
        if not self:
            return [f"none of the {self.num_test} test images is in the training set"]
        return [f"{_how_many(self)}:", *(f"  {id_}: {why}" for id_, why in self.reasons.items())]


def overlap(
    train_ids: Iterable[str], train: SomeImages, test_ids: Iterable[str], test: SomeImages
) -> Overlap:
    """Look for test images in the training set, by their ids and by their pixels as stored.

    Each image is read once, so of two memory-mapped stores nothing stays in memory but a hash for
    each training image.

    Args:
        train_ids, test_ids: ids of the images, in the order of ``indices``.
        train, test: images of one size; may be of one store.

    Raises:
        ValueError: the images are of different sizes, or have not as many ids.
    """
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(f"images of {train.images.shape[1:]} and {test.images.shape[1:]} pixels")
    known_ids: set[str] = set()
    known_pixels: dict[bytes, str] = {}
    for image_id, digest in zip(train_ids, _digests(train), strict=True):
        known_ids.add(image_id)
        known_pixels.setdefault(digest, image_id)
    reasons = {}
    for image_id, digest in zip(test_ids, _digests(test), strict=True):
        if image_id in known_ids:
            reasons[image_id] = "same id"
        elif digest in known_pixels:
            reasons[image_id] = f"same pixels as {known_pixels[digest]}"
    return Overlap(reasons, len(test.indices))


def refuse(found: Overlap) -> None:
    """Do nothing where there is no overlap.

    Raises:
        DataError: there is some.
    """
    if not found:
        return
    named = [f"{image_id}: {reason}" for image_id, reason in found.reasons.items()]
    more = ", …" if len(named) > _NAMED else ""
    raise DataError(
        f"{_how_many(found)} ({', '.join(named[:_NAMED])}{more}); take them out of the test set, "
        "or evaluate anyway with --allow-overlap"
    )


def _how_many(found: Overlap) -> str:
    return f"{len(found)} of {found.num_test} test images are also in the training set"


def _digests(chosen: SomeImages) -> Iterator[bytes]:
    for index in chosen.indices:
        yield hashlib.sha256(np.ascontiguousarray(chosen.images[index]).data).digest()
