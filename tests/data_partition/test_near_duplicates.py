"""Images turned, mirrored, cropped or re-encoded are near; other images are not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from data_partition.near_duplicates import MAX_BITS, NearDuplicates, near_groups

Transpose = Image.Transpose


def pictures(num_images: int) -> list[Image.Image]:
    """Smooth random pictures: noise of 16 x 16 pixels, enlarged."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (num_images, 16, 16, 3), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((120, 120)) for pixels in noise]


def cropped(image: Image.Image, part: float) -> Image.Image:
    margin = (1 - part) / 2 * image.width
    return image.crop((margin, margin, image.width - margin, image.height - margin))


def encoded(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.resize((80, 80)).save(data, "JPEG", quality=60)
    return Image.open(data).resize((120, 120))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded": encoded,
    **{turn.name: lambda image, turn=turn: image.transpose(turn) for turn in Transpose},
    **{f"cropped to {part}": lambda image, part=part: cropped(image, part) for part in (0.9, 0.7)},
    "square": lambda image: image.crop((15, 0, 105, 120)),
    "all": lambda image: encoded(cropped(image.transpose(Transpose.TRANSVERSE), 0.8)),
}


def near(images: list[Image.Image]) -> list[tuple[int, int]]:
    search = NearDuplicates()
    for image in images:
        search.add(np.asarray(image.resize((64, 64)).convert("RGB")))
    pairs = search.pairs()
    assert (pairs["bits"] <= MAX_BITS).all()
    assert pairs["bits"].is_monotonic_increasing
    return list(zip(pairs["first"].tolist(), pairs["second"].tolist(), strict=True))


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_are_near_and_nothing_else(name: str) -> None:
    """Of twenty pictures the sixth and the last are changed copies of others."""
    images = pictures(20)
    images[5], images[19] = CHANGES[name](images[11]), CHANGES[name](images[2])
    assert sorted(near(images)) == [(2, 19), (5, 11)]


def test_all_of_several_blocks_are_compared() -> None:
    """Blocks are of sixteen images."""
    images = pictures(40)
    images[39], images[17] = images[0], images[16]
    assert sorted(near(images)) == [(0, 39), (16, 17)]


def test_too_few_images_make_no_pair() -> None:
    assert near([]) == near(pictures(1)) == []


def test_groups_of_images_that_look_alike() -> None:
    """2 is near 4 turned, which is near 5: one group, named after its first."""
    images = pictures(6)
    images[2], images[5] = images[4].rotate(90), encoded(images[4])
    pixels = np.stack([np.asarray(image.resize((64, 64)).convert("RGB")) for image in images])
    assert near_groups(pixels, np.arange(6)).tolist() == [0, 1, 2, 3, 2, 2]
    # Of some images, by their places among these: 1, 3, 4 and 5.
    assert near_groups(pixels, np.array([1, 3, 4, 5])).tolist() == [0, 1, 2, 2]
    assert near_groups(pixels, np.array([], dtype=np.int64)).tolist() == []
