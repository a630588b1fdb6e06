"""The interface of readers, which turn rows of an image table into pixels."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar

import pandas as pd

Item = TypeVar("Item")
Answer = TypeVar("Answer")


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
