"""Decodes the bytes of NIfTI files to voxels."""

import gzip
import hashlib
import io
import math
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_partition.decode import MAX_FILE_BYTES
from data_partition.errors import DataError

NIFTI_SUFFIXES = (".nii", ".nii.gz")

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_BYTES = 348
_MOST_SLICES = 4096  # a malicious header must not give a table of billions of rows


class Volume(NamedTuple):
    """A volume's voxels (X, Y, Z), and the sha256 in hex of its file, uncompressed."""

    voxels: NDArray
    sha256: str


def read_volume(data: bytes, name: str) -> Volume:
    """Decode a NIfTI-1 file held in memory, compressed by gzip or not.

    Raises:
        DataError: the file is empty, truncated, damaged, not NIfTI, larger than 512 MiB, not
            three-dimensional, or has values that are not finite real numbers.
    """
    # Imported here and below: nearly every command imports this file, and few read volumes.
    import nibabel

    try:
        content = _uncompressed(data)
        image = nibabel.Nifti1Image.from_bytes(content)
        shape, kind = image.shape, image.get_data_dtype()
        if len(shape) != 3 or kind.kind not in "iuf":
            raise DataError(f"{name}: {kind} of shape {shape}, not a volume of real numbers")
        # A malicious header can claim more voxels than memory holds.
        if math.prod(shape) * kind.itemsize > len(content):
            raise DataError(f"{name}: shorter than its header says; fetch it again")
        voxels = np.asanyarray(image.dataobj)
    except _damage() as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: not a readable NIfTI volume; fetch it again") from error
    if not np.isfinite(voxels).all():
        raise DataError(f"{name}: holds voxels that are not finite numbers; fetch it again")
    return Volume(voxels, hashlib.sha256(content).hexdigest())


def read_depth(head: bytes) -> int:
    """Return the number of slices of a volume along the third axis.

    Args:
        head: the first kilobytes of a NIfTI-1 file, compressed by gzip or not.

    Raises:
        DataError: they do not begin such a volume.
    """
    import nibabel

    try:
        if head.startswith(_GZIP_MAGIC):
            head = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, _HEADER_BYTES)
        header = nibabel.Nifti1Header.from_fileobj(io.BytesIO(head[:_HEADER_BYTES]))
        depth = int(header.get_data_shape()[2])
    except _damage(IndexError) as error:
        raise DataError("not the header of a volume") from error
    if not 1 <= depth <= _MOST_SLICES:
        raise DataError(f"a volume of {depth} slices")
    return depth


def _damage(*further: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the errors for damaged input; any other error is a bug in this program."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    of_nibabel = (HeaderDataError, ImageFileError, WrapStructError)
    return (*of_nibabel, OSError, EOFError, ValueError, OverflowError, zlib.error, *further)


def _uncompressed(data: bytes) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError("too large")
    return content
