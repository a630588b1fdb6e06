"""Readers turn rows of an image table into pixels: what one is, and that of image files."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from data_partition.decode import LFS_REMEDY, ImageFiles, PointerError, image_name, rgb_image
from data_partition.errors import DataError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# p of the Minkowski means of `shades_of_grey`.
_POWER = 6


class Decoded(NamedTuple):
    """One image: side * side * 3 bytes, and the sha256 in hex of the files it comes from."""

    pixels: bytes
    sha256: str

    def pixels_sha256(self) -> str | None:
        """The sha256 in hex of the pixels; None if all pixels have the same colour.

        Blank slices of different patients are equal, but they are not copies.
        """
        if self.pixels == self.pixels[:3] * (len(self.pixels) // 3):
            return None
        return hashlib.sha256(self.pixels).hexdigest()


class Unusable(NamedTuple):
    """An image that is set aside: the reason, and the name of the file at fault."""

    reason: str
    name: str


class ImageReader(Protocol):
    """Reads the images of one kind of table, including the columns that only this kind has.

    Attributes:
        settings: as text, everything that affects the pixels besides the rows and their files; part
            of the image store's key.
    """

    @property
    def settings(self) -> str: ...

    def files(self, rows: pd.DataFrame) -> list[tuple[str, ...]]:
        """Return for each row the paths of all files that its image comes from."""
        ...

    def decode(self, rows: pd.DataFrame, side: int) -> Iterator[Decoded | Unusable]:
        """Decode the rows' images in order, several at a time.

        Raises:
            DataError: the system refuses to read a file, so the image may be good.
        """
        ...


def map_in_threads(
    function: Callable[[Item], Answer], items: Iterable[Item], *, at_once: int
) -> Iterator[Answer]:
    """Yield the function's results in the order of the items, at most ``at_once`` in memory.

    It uses threads: Pillow, zlib and NumPy release the interpreter lock, and nothing is pickled.
    """
    rest = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(rest, at_once)):
            yield from pool.map(function, chunk)


UNREADABLE = "unreadable image"

# Of an image of which the square in the middle is taken: the longer side, enlarged as the shorter
# one is, would otherwise take all memory.
_LONGEST = 20

# The largest number of decoded images that are not written yet.
CHUNK = 256


@dataclass(frozen=True)
class Photographs:
    """Reads tables with the columns ``path`` and ``member``, see ``ImageTable``.

    Images are resized to squares (bilinear, antialiased).
    """

    # Keep the aspect ratio and the square in the middle; otherwise the whole image is squeezed into
    # the square.
    square: bool = False
    shades_of_grey: bool = False  # correct the colour of the light, see `shades_of_grey`

    @property
    def settings(self) -> str:
        """Name what differs from the defaults, "" if nothing does."""
        named = {"square": self.square, "shades of grey": self.shades_of_grey}
        return ", ".join(name for name, chosen in named.items() if chosen)

    def files(self, rows: pd.DataFrame) -> list[tuple[str, ...]]:
        """Return for each row the image file, or the archive that contains it."""
        return [(path,) for path in rows["path"]]

    def decode(self, rows: pd.DataFrame, side: int) -> Iterator[Decoded | Unusable]:
        """Decode the rows' images in order."""
        with ImageFiles() as source:

            def decode_one(place: tuple[str, str, str]) -> Decoded | Unusable:
                return self._decode_one(source, *place, side)

            places = zip(rows["image_id"], rows["path"], rows["member"], strict=True)
            yield from map_in_threads(decode_one, places, at_once=CHUNK)

    def _decode_one(
        self, source: ImageFiles, image_id: str, path: str, member: str, side: int
    ) -> Decoded | Unusable:
        name = image_name(path, member)
        try:
            data = source.read(path, member)
        except PointerError:
            return Unusable(LFS_REMEDY, image_id)
        except DataError:
            return Unusable(UNREADABLE, image_id)
        except OSError as error:
            # Not an error of the image, and perhaps temporary: it must not be stored as damage.
            raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
        try:
            pixels = self.pixels(data, name, side)
        except DataError:
            return Unusable(UNREADABLE, image_id)
        return Decoded(pixels.tobytes(), hashlib.sha256(data).hexdigest())

    def pixels(self, data: bytes, name: str, side: int) -> NDArray[np.uint8]:
        """Decode an image file held in memory, (side, side, 3).

        Raises:
            DataError: it is no readable image.
        """
        # Twice the side: the resize of a JPEG that was reduced in decoding is still good.
        return self._fitted(rgb_image(data, name, reduce_to=2 * side), name, side)

    def _fitted(self, image: Image.Image, name: str, side: int) -> NDArray[np.uint8]:
        width, height = (side, side)
        if self.square:
            if max(image.size) > _LONGEST * min(image.size):
                raise DataError(f"{name}: more than {_LONGEST} times as long as it is wide")
            scale = side / min(image.size)
            width, height = (max(side, round(scale * length)) for length in image.size)
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        if self.shades_of_grey:
            pixels = shades_of_grey(pixels)
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[top : top + side, left : left + side]


def shades_of_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale the channels so that the light that they imply is grey.

    Finlayson and Trezzi: Shades of Gray and Colour Constancy. Color Imaging Conference, 2004: the
    light's colour is estimated as the channels' Minkowski means, e_c = (mean of v_c^p)^(1/p), with
    p = 6. A channel is multiplied by |e| / (sqrt(3) e_c), rounded and clipped at 255.

    Args:
        pixels: (H, W, 3).
    """
    largest = int(pixels.max(initial=0))
    if largest == 0:
        return pixels
    # Powers of values up to 1: the sum cannot overflow.
    light = np.mean((pixels / largest) ** _POWER, axis=(0, 1)) ** (1 / _POWER)
    grey = np.sqrt(np.mean(light**2))
    gains = np.divide(grey, light, out=np.ones(3), where=light > 0)
    return np.clip(np.rint(pixels * gains), 0, 255).astype(np.uint8)
