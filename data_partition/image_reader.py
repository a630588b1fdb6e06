"""What stands between the rows of an image table and their pixels."""

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
    """One image: side * side * 3 bytes, and the sha256 in hex of the files it was made from."""

    pixels: bytes
    sha256: str

    def pixels_sha256(self) -> str | None:
        """The sha256 in hex of the pixels; None of one colour throughout, which shows nothing.

        Blank slices of several patients are equal, but no copies of one another.
        """
        if self.pixels == self.pixels[:3] * (len(self.pixels) // 3):
            return None
        return hashlib.sha256(self.pixels).hexdigest()


class Unusable(NamedTuple):
    """An image that is set aside: why, and the name under which people know what is at fault."""

    reason: str
    name: str


class ImageReader(Protocol):
    """Reads the images of one kind of table. It knows the table's columns beyond the common ones.

    Attributes:
        settings: what decides the pixels besides the rows and their files, in words; part of the
            image store's key.
    """

    @property
    def settings(self) -> str: ...

    def files(self, rows: pd.DataFrame) -> list[tuple[str, ...]]:
        """For each row the paths of all files that its image is made from."""
        ...

    def decode(self, rows: pd.DataFrame, side: int) -> Iterator[Decoded | Unusable]:
        """Decode the rows' images in their order, several at a time.

        Raises:
            DataError: the system refuses to read a file, which is not the image's fault.
        """
        ...


def in_threads(
    function: Callable[[Item], Answer], items: Iterable[Item], *, at_once: int
) -> Iterator[Answer]:
    """The function's answers in the order of the items, ``at_once`` of them in memory.

    Threads: Pillow, zlib and NumPy work outside the interpreter lock, and nothing is pickled.
    """
    rest = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(rest, at_once)):
            yield from pool.map(function, chunk)
