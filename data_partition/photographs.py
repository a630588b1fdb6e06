"""Images that are separate files or members of zip archives."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
from PIL import Image

from data_partition.decode import LFS_REMEDY, ImageFiles, PointerError, image_name, rgb_image
from data_partition.errors import DataError
from data_partition.image_reader import Decoded, Unusable, map_in_threads

UNREADABLE = "unreadable image"

# The largest number of decoded images that are not written yet.
CHUNK = 256


@dataclass(frozen=True)
class Photographs:
    """Reads tables with the columns ``path`` and ``member``, see ``ImageTable``.

    Images are resized to squares (bilinear, antialiased); the aspect ratio is not kept.
    """

    settings: ClassVar[str] = ""

    def files(self, rows: pd.DataFrame) -> list[tuple[str, ...]]:
        """Return for each row the image file, or the archive that contains it."""
        return [(path,) for path in rows["path"]]

    def decode(self, rows: pd.DataFrame, side: int) -> Iterator[Decoded | Unusable]:
        """Decode the rows' images in order."""
        with ImageFiles() as source:

            def decode_one(place: tuple[str, str, str]) -> Decoded | Unusable:
                return _decode_one(source, *place, side)

            places = zip(rows["image_id"], rows["path"], rows["member"], strict=True)
            yield from map_in_threads(decode_one, places, at_once=CHUNK)


def _decode_one(
    source: ImageFiles, image_id: str, path: str, member: str, side: int
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
        # Twice the side, so that the resize of a JPEG that was reduced in decoding is still good.
        image = rgb_image(data, name, reduce_to=2 * side)
    except DataError:
        return Unusable(UNREADABLE, image_id)
    resized = image.resize((side, side), Image.Resampling.BILINEAR)
    return Decoded(resized.tobytes(), hashlib.sha256(data).hexdigest())
