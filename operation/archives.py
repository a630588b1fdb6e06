"""Zip archives from outside: the names and sizes that they state are not trusted."""

import copy
import re
import sys
import zipfile

_PIECE = 2**16
# These can be unpacked piece by piece; with other methods one piece can become gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

MAX_NAME = 200
# Letters that look alike, and dots and slashes without meaning, are refused: the name that is shown
# must be the one that is installed.
_PART = re.compile(r"[A-Za-z0-9._-]*[A-Za-z0-9_-]")


def is_plain_name(name: str) -> bool:
    """Return whether a file's name in an archive means the same to a person, Python and any disk.

    ASCII letters, digits, dots, hyphens and underscores, ``MAX_NAME`` characters at most.
    """
    return len(name) <= MAX_NAME and all(map(_PART.fullmatch, name.split("/")))


def check_packing(member: zipfile.ZipInfo) -> None:
    """Refuse a member that cannot be unpacked piece by piece.

    Raises:
        ValueError: it is compressed by another method than deflate.
    """
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename!r} is not packed by deflate")


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """Unpack a member of an archive; stop as soon as it is larger than allowed.

    Python's own reading unpacks everything, even if the archive states a small size.

    Args:
        member: one of its `infolist`.
        most: maximum bytes, whatever the archive states.

    Raises:
        ValueError: the member is larger than allowed, not of the size that the archive states, or
            compressed by another method than deflate.
        zipfile.BadZipFile, zlib.error, EOFError, RuntimeError: as zipfile raises on damage.
    """
    check_packing(member)
    if member.file_size > most:
        raise ValueError(f"{member.filename!r} is larger than {most} bytes")
    unbounded = copy.copy(member)
    unbounded.file_size = sys.maxsize  # otherwise data beyond that size would be ignored
    content = bytearray()
    with archive.open(unbounded) as stream:
        while piece := stream.read(_PIECE):
            content += piece
            if len(content) > member.file_size:
                break
    if len(content) != member.file_size:
        raise ValueError(f"{member.filename!r} does not have the size that the archive states")
    return bytes(content)
