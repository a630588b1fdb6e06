"""Zip archives from outside: what they say of their members' sizes is not believed."""

import copy
import sys
import zipfile

_PIECE = 2**16
# Those that unpack piece by piece; of the others one piece can become gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """Unpack a member of an archive, and stop as soon as it is larger than it may be.

    Python's own reading unpacks all there is, however little the archive says that it is.

    Args:
        archive: an open archive.
        member: one of its `infolist`.
        most: bytes that are allowed, whatever the archive says.

    Raises:
        ValueError: the member is larger than allowed or not of the size that the archive says, or
            packed in another way than deflate.
        zipfile.BadZipFile, zlib.error, EOFError, RuntimeError: as zipfile raises on damage.
    """
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename!r} is not packed by deflate")
    if member.file_size > most:
        raise ValueError(f"{member.filename!r} is larger than {most} bytes")
    unbounded = copy.copy(member)
    unbounded.file_size = sys.maxsize  # else what comes behind that size would be passed over
    content = bytearray()
    with archive.open(unbounded) as stream:
        while piece := stream.read(_PIECE):
            content += piece
            if len(content) > member.file_size:
                break
    if len(content) != member.file_size:
        raise ValueError(f"{member.filename!r} does not have the size that the archive states")
    return bytes(content)
