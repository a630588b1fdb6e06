"""Members of archives whose stated size is not what they unpack to."""

import struct
import tracemalloc
import zipfile
import zlib
from io import BytesIO

import pytest

from operation.archives import read_member

MIB = 2**20


def archive(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(written, "w", method) as made:
        made.writestr("a", content)
    return written.getvalue()


def lying(content: bytes, stated: bytes) -> bytes:
    """An archive whose member says size and CRC of ``stated`` and unpacks to ``content``."""
    data = archive(content)
    real = struct.pack("<I", zlib.crc32(content)), struct.pack("<I", len(content))
    said = struct.pack("<I", zlib.crc32(stated)), struct.pack("<I", len(stated))
    for before, after in zip(real, said, strict=True):
        assert data.count(before) == 2  # in the local header and in the central directory
        data = data.replace(before, after)
    return data


def read(data: bytes, most: int = 1000) -> bytes:
    with zipfile.ZipFile(BytesIO(data)) as opened:
        return read_member(opened, opened.infolist()[0], most)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("content", [b"", b"x", bytes(1000)])
def test_a_member_is_unpacked(content: bytes, method: int) -> None:
    assert read(archive(content, method)) == content


def test_a_member_that_says_how_large_it_is() -> None:
    with pytest.raises(ValueError, match="'a' is larger than 1000 bytes"):
        read(archive(bytes(1001)))


def test_900_mb_behind_10_bytes_are_not_unpacked() -> None:
    """Python's own reading would take them all, and return ten."""
    data = lying(bytes(900_000_000), bytes(10))
    assert len(data) < MIB
    tracemalloc.start()
    with pytest.raises(ValueError, match="not have the size that the archive states"):
        read(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB


def test_a_member_that_is_shorter_than_it_says() -> None:
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        read(lying(bytes(10), bytes(900)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_cannot_be_unpacked_piece_by_piece(method: int) -> None:
    with pytest.raises(ValueError, match="not packed by deflate"):
        read(archive(b"a", method))
