"""NIfTI files: what is read, and that damage is one line that names the file."""

import gzip
import hashlib

import numpy as np
import pytest

from data_partition import nifti as module
from data_partition.errors import DataError
from data_partition.nifti import read_volume
from tests.data_partition.volumes import nifti

VOXELS = np.arange(24).reshape(2, 3, 4)
WHOLE = nifti(VOXELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_voxels_of_any_real_type(dtype: type) -> None:
    volume = read_volume(nifti(VOXELS, dtype), "a.nii")
    assert volume.voxels.dtype == dtype
    assert (volume.voxels == VOXELS).all()


def test_compressed_or_not_is_the_same_volume() -> None:
    plain, packed = read_volume(WHOLE, "a.nii"), read_volume(gzip.compress(WHOLE), "a.nii.gz")
    assert (plain.voxels == packed.voxels).all()
    assert plain.sha256 == packed.sha256 == hashlib.sha256(WHOLE).hexdigest()


def with_header(offset: int, content: bytes) -> bytes:
    return WHOLE[:offset] + content + WHOLE[offset + len(content) :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a volume",
        WHOLE[:100],
        WHOLE[:-1],
        gzip.compress(WHOLE)[:-20],
        gzip.compress(WHOLE)[:40] + b"\xff" * 20 + gzip.compress(WHOLE)[60:],
        # Three axes of 32767 voxels: more than any memory.
        with_header(42, np.array([32767] * 3, dtype="<i2").tobytes()),
        with_header(70, np.array([9999], dtype="<i2").tobytes()),  # no such data type
        nifti(VOXELS[0]),
        nifti(VOXELS[..., None]),
        nifti(VOXELS, np.complex64),
        nifti(np.where(VOXELS == 5, np.nan, VOXELS), np.float32),
        nifti(np.where(VOXELS == 5, np.inf, VOXELS), np.float32),
    ],
    ids=[
        "empty", "text", "half a header", "a byte short", "truncated gzip", "damaged gzip",
        "huge", "unknown type", "two axes", "four axes", "complex", "nan", "infinite",
    ],
)  # fmt: skip
def test_damage_is_one_line_that_names_the_file(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^case_t1\.nii: ") as caught:
        read_volume(data, "case_t1.nii")
    assert "\n" not in str(caught.value)


def test_a_file_that_unpacks_to_more_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(WHOLE) - 1)
    with pytest.raises(DataError, match="not a readable NIfTI volume"):
        read_volume(gzip.compress(WHOLE), "a.nii.gz")
