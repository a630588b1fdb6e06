"""Named arrays in and out of Flower's records, without copies where there need be none."""

import copyreg
import ctypes
import mmap
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.lib import format as npy
from numpy.typing import NDArray

_madvise = ctypes.CDLL(None).madvise if hasattr(mmap, "MADV_HUGEPAGE") else None


def view(array: Array) -> NDArray:
    """Return a NumPy view of a Flower array's bytes, read-only as they are; nothing is copied.

    Raises:
        ValueError: the bytes are not a plain, C-ordered ``.npy`` file of the array's own dtype
            and shape. Object arrays, which would need pickle, are refused with the rest.
    """
    if array.stype != "numpy.ndarray":
        raise ValueError(f"is serialised as {array.stype!r}, not as a NumPy array")
    # The format's version 1.0: six bytes of magic, two of version, two of the header's length.
    offset = 10 + int.from_bytes(array.data[8:10], "little")
    dtype, shape, fortran_order = _read_head(bytes(array.data[:offset]))
    if dtype.hasobject or dtype.byteorder == ">" or (fortran_order and len(shape) > 1):
        raise ValueError(f"holds {dtype} in an order that is not accepted")
    if (str(dtype), tuple(shape)) != (array.dtype, tuple(array.shape)):
        raise ValueError(
            f"holds {dtype} {shape}, but is declared as {array.dtype} {tuple(array.shape)}"
        )
    flat = np.frombuffer(array.data, dtype=dtype, offset=offset)
    if flat.size != int(np.prod(shape)):
        raise ValueError(f"holds {flat.size} values, too few or too many for shape {shape}")
    return flat.reshape(shape)


def views(record: ArrayRecord) -> dict[str, NDArray]:
    """Return a `view` of every array of a record, by name.

    Raises:
        ValueError: naming the array that cannot be read.
    """
    result = {}
    for name, array in record.items():
        try:
            result[name] = view(array)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return result


class Blank:
    """A Flower array under construction: write into ``values``, then `finish`.

    The values are written straight into the bytes that travel, so that nothing is copied after.

    Args:
        dtype: of the values.
        shape: of the values, which are zero at first.
    """

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        head = _write_head(dtype, shape)
        # A BytesIO that alone owns its bytes lends them for writing and gives them back uncopied.
        self._buffer = BytesIO(bytes(len(head) + int(np.prod(shape)) * dtype.itemsize))
        self._memory = self._buffer.getbuffer()
        flat: NDArray = np.frombuffer(self._memory, dtype=dtype, offset=len(head))
        _ask_for_huge_pages(flat)
        self._memory[: len(head)] = head
        self.values = flat.reshape(shape)

    def finish(self) -> Array:
        """Return the array; ``values`` is gone afterwards."""
        dtype, shape = self.values.dtype, self.values.shape
        del self.values
        self._memory.release()
        return Array(str(dtype), shape, "numpy.ndarray", self._buffer.getvalue())


def to_record(arrays: Mapping[str, NDArray]) -> ArrayRecord:
    """Serialise named arrays; makes exactly one copy of them."""
    record = ArrayRecord()
    for name, array in arrays.items():
        dtype, shape = array.dtype, array.shape
        # ascontiguousarray would add a dimension to a number.
        data = b"".join((_write_head(dtype, shape), np.asarray(array, order="C").data))
        record[name] = Array(str(dtype), shape, "numpy.ndarray", data)
    return record


def num_bytes(record: ArrayRecord) -> int:
    """Return how many bytes the arrays of a record take on the wire."""
    return sum(len(array.data) for array in record.values())


def _take_apart(array: Array) -> tuple[Any, ...]:
    """Tell pickle that an array's bytes may travel beside the stream.

    So Ray writes them into its shared memory and the receiver reads them there; within the
    stream they would be copied into it, and out of it again. NumPy knows how, for every protocol.
    """
    return _put_together, (array.dtype, array.shape, array.stype, np.frombuffer(array.data, "u1"))


def _put_together(dtype: str, shape: tuple[int, ...], stype: str, data: NDArray) -> Array:
    array = Array(dtype, shape, stype, b"")
    array.data = cast(bytes, data.data.toreadonly())  # read, sliced and compared as bytes are
    return array


copyreg.pickle(Array, _take_apart)


# A model has hundreds of arrays in few shapes, and parsing a header costs more than a small sum.
@lru_cache(maxsize=4096)
def _read_head(data: bytes) -> tuple[np.dtype, tuple[int, ...], bool]:
    head = BytesIO(data)
    if npy.read_magic(head) != (1, 0):
        raise ValueError("is not in version 1.0 of the .npy format")
    shape, fortran_order, dtype = npy.read_array_header_1_0(head)
    return dtype, tuple(shape), fortran_order


@lru_cache(maxsize=4096)
def _write_head(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    head = BytesIO()
    layout = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(head, layout)
    return head.getvalue()


def _ask_for_huge_pages(fresh: NDArray) -> None:
    """Tell Linux that a large block is about to be filled, as NumPy does for arrays of its own.

    Else every 4 KiB of it cost a page fault, together half the time of a mean. Advice only:
    where it is not taken, nothing changes but the speed.
    """
    if _madvise is None or fresh.nbytes < 1 << 22:
        return
    start = -(-fresh.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    length = fresh.ctypes.data + fresh.nbytes - start
    _madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
