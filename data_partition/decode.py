"""Decodes a file, or a member of a zip archive, to RGB pixels."""

import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from data_partition.errors import DataError
from operation.archives import check_packing, read_member

# Only formats that medical image sets use, so that untrusted bytes reach few parsers.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")

# A malicious header can claim more pixels, and a malicious archive more bytes, than memory holds.
MAX_PIXELS = 80_000_000
MAX_FILE_BYTES = 512 * 2**20

# Errors of Pillow and zipfile for damaged input; any other error is a bug in this program.
DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


def image_name(path: str, member: str = "") -> str:
    """Return the name of an image in messages: its path, and after a colon the archive member."""
    return f"{path}:{member}" if member else path


# The content of a file that git-LFS has not fetched.
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_TOO_LARGE = f"larger than {MAX_FILE_BYTES >> 20} MiB; not an image"
LFS_REMEDY = "git-LFS pointer instead of the file; fetch it with  git lfs pull"


class PointerError(DataError):
    """A file is a git-LFS pointer instead of the image."""


def is_lfs_pointer(data: bytes) -> bool:
    """Return whether these bytes are a git-LFS pointer."""
    return data.startswith(_LFS_POINTER)


class ImageFiles:
    """Reads the bytes of image files and of zip members; opens every archive only once.

    Use it as a context manager; ``read`` may be called from several threads.
    """

    def __init__(self) -> None:
        self._archives: dict[str, zipfile.ZipFile] = {}
        self._lock = threading.Lock()

    def read(self, path: str, member: str = "") -> bytes:
        """Return the encoded bytes of one image.

        Args:
            path: an image file, or a zip archive if ``member`` is given.
            member: the image's name inside the archive.

        Raises:
            OSError: the file cannot be read (no such file, no permission, a disk error).
            PointerError: git has not fetched the file.
            DataError: the archive or its member is damaged or missing, or larger than 512 MiB.
        """
        if member:
            with self._unpacking(path, member) as archive:
                info = archive.getinfo(member)
                if info.file_size > MAX_FILE_BYTES:
                    raise DataError(f"{image_name(path, member)}: {_TOO_LARGE}")
                data = read_member(archive, info, MAX_FILE_BYTES)
        elif Path(path).stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path}: {_TOO_LARGE}")
        else:
            data = Path(path).read_bytes()
        if is_lfs_pointer(data):
            raise PointerError(f"{image_name(path, member)}: {LFS_REMEDY}")
        return data

    def read_head(self, path: str, member: str, num_bytes: int) -> bytes:
        """Return the first bytes of a file, at most ``num_bytes``.

        Args:
            path, member: as for `read`.
        """
        if not member:
            with Path(path).open("rb") as file:
                return file.read(num_bytes)
        with self._unpacking(path, member) as archive:
            check_packing(archive.getinfo(member))
            with archive.open(member) as packed:
                return packed.read(num_bytes)

    @contextmanager
    def _unpacking(self, path: str, member: str) -> Iterator[zipfile.ZipFile]:
        """Yield an archive; turn an error of a member into a `DataError` of one line."""
        try:
            yield self._archive(path)
        except (OSError, DataError):
            raise
        except KeyError as error:
            raise DataError(f"{image_name(path, member)}: not in the archive") from error
        except DAMAGE as error:
            raise DataError(
                f"{image_name(path, member)}: cannot be unpacked ({_reason(error)}); "
                "fetch the archive again"
            ) from error

    def _archive(self, path: str) -> zipfile.ZipFile:
        with self._lock:
            if path not in self._archives:
                self._archives[path] = zipfile.ZipFile(path)
            return self._archives[path]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for archive in self._archives.values():
            archive.close()


def rgb_image(data: bytes, name: str, *, reduce_to: int = 0) -> Image.Image:
    """Decode an image held in memory.

    Grey is repeated into three channels, 16-bit grey keeps its upper 8 bits, palettes are looked up
    and CMYK is converted. An alpha channel is dropped, so the stored colours stay unchanged. An
    EXIF orientation is ignored. Of several frames, the first is used.

    Args:
        reduce_to: if above 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as
            both sides keep at least this many pixels; 0 decodes at full size.

    Returns:
        An image of mode "RGB", completely loaded.

    Raises:
        DataError: the image is empty, truncated, damaged, of an unknown format, or larger than 80
            megapixels.
    """
    if not data:
        raise DataError(f"{name}: the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{name}: {image.width}x{image.height} pixels are more than "
                    f"{MAX_PIXELS // 1_000_000} megapixels"
                )
            if reduce_to:
                image.draft(None, (reduce_to, reduce_to))
            return _to_rgb(image, name)
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{name}: not a readable image ({_reason(error)})") from error


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB":
        image.load()  # convert() would copy it
        return image
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255 instead of scaling.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(f"{name}: 32-bit pixels have no fixed range; save the image with 8 bits")
    if image.has_transparency_data and image.mode == "P":
        # Converted directly to RGB, Pillow warns about transparency in the palette.
        image = image.convert("RGBA")
    return image.convert("RGB")


def _reason(error: BaseException) -> str:
    """Return an exception in one line, without the memory address that Pillow prints."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).split("\n")[0]
    return "unknown format" if "cannot identify" in text else text or type(error).__name__
