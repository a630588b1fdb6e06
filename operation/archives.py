"""Zip archives from outside: the sizes that they state are not trusted."""

import copy
import sys
import zipfile

_PIECE = 2**16
# These can be unpacked piece by piece; with other methods one piece can become gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """Unpack a member of an archive; stop as soon as it is larger than allowed.

    Python's own reading unpacks everything, even if the archive states a small size.

    Args:
        archive: an open archive.
        member: one of its `infolist`.
        most: maximum bytes, whatever the archive states.

    Raises:
        ValueError: the member is larger than allowed, not of the size that the archive states, or
            compressed by another method than deflate.
        zipfile.BadZipFile, zlib.error, EOFError, RuntimeError: as zipfile raises on damage.
    """
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename!r} is not packed by deflate")
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
