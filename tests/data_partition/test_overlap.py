"""Test images that are training images are found by id and by pixels, and refused by name."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from data_partition.errors import DataError
from data_partition.overlap import Overlap, overlap, refuse


@dataclass(frozen=True)
class Images:
    images: NDArray[np.uint8]
    indices: NDArray[np.int64]


def plain(*levels: int) -> Images:
    """Images of 4 x 4 pixels, each of one grey level."""
    pixels = np.empty((len(levels), 4, 4, 3), dtype=np.uint8)
    pixels[:] = np.array(levels)[:, None, None, None]
    return Images(pixels, np.arange(len(levels)))


def test_images_are_recognised_by_id_and_by_pixels() -> None:
    """b is known by name though its pixels differ, e by the pixels of a; the name comes first."""
    found = overlap(["a", "b", "c"], plain(1, 2, 3), ["c", "d", "b", "e"], plain(3, 4, 5, 1))
    assert found.reasons == {"c": "same id", "b": "same id", "e": "same pixels as a"}
    assert (len(found), found.num_test) == (3, 4)
    assert found.lines() == [
        "3 of 4 test images are also in the training set:",
        "  c: same id",
        "  b: same id",
        "  e: same pixels as a",
    ]


def test_one_pixel_makes_another_image() -> None:
    other = plain(1)
    other.images[0, 3, 3, 2] += 1
    assert not overlap(["a"], plain(1), ["b"], other)


def test_of_training_images_that_are_equal_the_first_is_named() -> None:
    found = overlap(["a", "b"], plain(1, 1), ["x", "y"], plain(1, 1))
    assert found.reasons == {"x": "same pixels as a", "y": "same pixels as a"}


def test_only_the_images_meant_of_one_store_are_looked_at() -> None:
    """As of BraTS2019, whose test patients are rows of the training's store; 2 equals 0."""
    store = plain(1, 2, 1, 3).images
    train, test = Images(store, np.array([1, 0])), Images(store, np.array([3]))
    assert not overlap(["b", "a"], train, ["d"], test)
    test = Images(store, np.array([3, 2]))
    assert overlap(["b", "a"], train, ["d", "c"], test).reasons == {"c": "same pixels as a"}


def test_memory_maps_are_read() -> None:
    """A store is read-only, and cut-outs need not be contiguous."""
    images = plain(1, 2)
    images.images.flags.writeable = False
    mirrored = Images(images.images[:, ::-1], images.indices)
    assert len(overlap(["a", "b"], images, ["c", "d"], mirrored)) == 2


def test_no_overlap_is_said_and_not_refused() -> None:
    found = overlap(["a"], plain(1), ["b", "c"], plain(2, 3))
    assert found.lines() == ["none of the 2 test images is in the training set"]
    refuse(found)


def test_an_empty_side_has_no_overlap() -> None:
    assert not overlap([], plain(), ["a"], plain(1))
    assert not overlap(["a"], plain(1), [], plain())


def test_refusal_names_the_first_and_the_remedy() -> None:
    four = {"a": "same id", "b": "same pixels as z", "c": "same id", "d": "same id"}
    with pytest.raises(DataError) as caught:
        refuse(Overlap(four, 10))
    assert str(caught.value) == (
        "4 of 10 test images are also in the training set (a: same id, b: same pixels as z, "
        "c: same id, …); take them out of the test set, or evaluate anyway with --allow-overlap"
    )
    with pytest.raises(DataError, match=r"\(a: same id\); take"):
        refuse(Overlap({"a": "same id"}, 1))


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(ValueError, match="images of"):
        overlap(["a"], plain(1), ["b"], Images(np.zeros((1, 8, 8, 3), np.uint8), np.arange(1)))
    with pytest.raises(ValueError, match="longer"):
        overlap(["a"], plain(1, 2), ["b"], plain(3))
