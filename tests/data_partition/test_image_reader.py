"""How photographs become squares: squeezed or cropped, and with grey light."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_partition.errors import DataError
from data_partition.image_reader import Decoded, Photographs, shades_of_grey


def decoded(path: Path, pixels: np.ndarray, reader: Photographs, side: int) -> np.ndarray:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    path.write_bytes(encoded.getvalue())
    rows = pd.DataFrame({"image_id": ["a"], "path": [str(path)], "member": [""]})
    [image] = reader.decode(rows, side)
    assert isinstance(image, Decoded)
    return np.frombuffer(image.pixels, np.uint8).reshape(side, side, 3)


@pytest.mark.parametrize("turned", [False, True])
def test_the_square_in_the_middle(tmp_path: Path, turned: bool) -> None:
    """Of an image twice as long as it is wide, the middle half is white and the rest black."""
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 255
    if turned:
        pixels = pixels.transpose(1, 0, 2).copy()
    square = decoded(tmp_path / "a.png", pixels, Photographs(square=True), 8)
    assert (square == 255).all()
    squeezed = decoded(tmp_path / "a.png", pixels, Photographs(), 8)
    assert squeezed.mean() == pytest.approx(255 / 2, abs=1)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1)])
def test_an_image_like_a_thread_takes_no_memory(size: tuple[int, int]) -> None:
    """Enlarged until its shorter side is long enough, it would have billions of pixels."""
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    reader = Photographs(square=True, shades_of_grey=True)
    with pytest.raises(DataError, match=r"x\.png: more than 20 times as long as it is wide"):
        reader.pixels(file.getvalue(), "x.png", 64)
    assert Photographs().pixels(file.getvalue(), "x.png", 64).shape == (64, 64, 3)


def test_grey_light_is_measured_on_the_whole_image(tmp_path: Path) -> None:
    """The square in the middle is grey, and the sides are red: the light is reddish."""
    pixels = np.full((8, 16, 3), 100, np.uint8)
    pixels[:, :4] = pixels[:, 12:] = (200, 50, 50)
    found = decoded(tmp_path / "a.png", pixels, Photographs(square=True, shades_of_grey=True), 8)
    assert (found == shades_of_grey(pixels)[:, 4:12]).all()
    assert found[0, 0, 0] < found[0, 0, 1] == found[0, 0, 2]


def test_light_of_one_colour_becomes_grey() -> None:
    """e = (200, 100, 50), |e| / sqrt(3) = sqrt((40000 + 10000 + 2500) / 3) = 132.3."""
    pixels = np.full((3, 4, 3), (200, 100, 50), np.uint8)
    assert (shades_of_grey(pixels) == 132).all()


def test_the_formula_of_shades_of_grey() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    pixels[1:, :, 0] //= 8  # so that this channel is scaled beyond 255
    light = [
        (sum(int(value) ** 6 for value in pixels[:, :, c].flat) / 35) ** (1 / 6) for c in range(3)
    ]
    norm = sum(value**2 for value in light) ** 0.5
    expected = [pixels[:, :, c] * norm / (3**0.5 * light[c]) for c in range(3)]
    expected = np.clip(np.rint(np.stack(expected, axis=2)), 0, 255)
    np.testing.assert_array_equal(shades_of_grey(pixels), expected)
    assert (expected == 255).any()


@pytest.mark.parametrize("colour", [(0, 0, 0), (0, 90, 90)])
def test_channels_without_light_stay_dark(colour: tuple[int, int, int]) -> None:
    found = shades_of_grey(np.full((2, 2, 3), colour, np.uint8))
    assert (found[:, :, np.array(colour) == 0] == 0).all()


def test_each_way_has_its_own_store() -> None:
    """The settings are part of a store's key; the study's is unchanged."""
    ways = [(False, False), (True, False), (False, True), (True, True)]
    settings = [Photographs(square=s, shades_of_grey=g).settings for s, g in ways]
    assert settings == ["", "square", "shades of grey", "square, shades of grey"]
