"""Conversion between named arrays and Flower's records, without needless copies."""

import copyreg
import ctypes
import math
import mmap
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.lib import format as npy
from numpy.typing import NDArray

_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
# Plain numbers, in this machine's byte order.
_DTYPES = {name: np.dtype(name) for name in ("bool", *_INTEGERS, "float16", "float32", "float64")}
# Maximum length of an axis; larger numbers do not fit NumPy's index type.
_LONGEST = 2**48

_madvise = ctypes.CDLL(None).madvise if hasattr(mmap, "MADV_HUGEPAGE") else None


def view(array: Array) -> NDArray:
    """Return a NumPy view of a Flower array's bytes, read-only as they are; nothing is copied.

    Raises:
        ValueError: the bytes are not a plain, C-ordered ``.npy`` file of the array's own dtype and
            shape. Object arrays, which would need pickle, are also refused.
    """
    if array.stype != "numpy.ndarray":
        raise ValueError(f"is serialised as {str(array.stype)[:40]!r}, not as a NumPy array")
    dtype, shape = dtype_of(array.dtype), tuple(array.shape)
    # The header is compared, never parsed: a malicious header could mislead or exhaust a parser.
    header = npy_header(array.dtype, shape)
    if bytes(array.data[: len(header)]) != header:
        raise ValueError(f"is not the .npy file of the {dtype} {shape} that it is declared as")
    number, rest = divmod(len(array.data) - len(header), dtype.itemsize)
    if rest or number != math.prod(shape):
        raise ValueError(f"holds {number} values, too few or too many for shape {shape}")
    return np.frombuffer(array.data, dtype=dtype, offset=len(header)).reshape(shape)


def dtype_of(name: object) -> np.dtype:
    """Return the dtype with a name such as ``float32``.

    Raises:
        ValueError: it is not a plain number type in this machine's byte order. An array of objects
            would need pickle, one of strings contains text.
    """
    if not isinstance(name, str) or name not in _DTYPES:
        raise ValueError(f"is of dtype {str(name)[:40]!r}, which is not accepted")
    return _DTYPES[name]


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the ``.npy`` header that NumPy writes for an array of this dtype and shape, in C
    order.

    Raises:
        ValueError: the dtype is not accepted, or the shape is not valid.
    """
    if not all(type(side) is int and 0 <= side <= _LONGEST for side in shape):
        raise ValueError(f"has the shape {str(shape)[:40]}")
    return _write_header(dtype_of(dtype), shape)


# A model has hundreds of arrays, but few different shapes.
@lru_cache(maxsize=4096)
def _write_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    head = BytesIO()
    layout = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(head, layout)
    return head.getvalue()


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


def writable(array: Array) -> Array:
    """Return an array with writable bytes: the array itself if possible, otherwise a copy."""
    if view(array).flags.writeable:
        return array
    copied = Array(array.dtype, array.shape, array.stype, b"")
    copied.data = cast(bytes, memoryview(bytearray(array.data)))
    return copied


class Blank:
    """A Flower array under construction: write into ``values``, then `finish`.

    The values are written directly into the bytes that are sent, so nothing is copied later.

    Args:
        shape: shape of the values, which are zero at first.
    """

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        head = npy_header(str(dtype), shape)
        # A BytesIO that is the only owner of its bytes allows writing to them and returns them
        # uncopied.
        self._buffer = BytesIO(bytes(len(head) + int(np.prod(shape)) * dtype.itemsize))
        self._memory = self._buffer.getbuffer()
        flat: NDArray = np.frombuffer(self._memory, dtype=dtype, offset=len(head))
        _ask_for_huge_pages(flat)
        self._memory[: len(head)] = head
        self.values = flat.reshape(shape)

    def finish(self) -> Array:
        """Return the array; ``values`` cannot be used afterwards."""
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
        data = b"".join((npy_header(str(dtype), shape), np.asarray(array, order="C").data))
        record[name] = Array(str(dtype), shape, "numpy.ndarray", data)
    return record


def num_bytes(record: ArrayRecord) -> int:
    """Return how many bytes the arrays of a record take on the wire."""
    return sum(len(array.data) for array in record.values())


def take_apart(array: Array) -> tuple[Any, ...]:
    """Allow pickle to send an array's bytes separately from its stream.

    Ray then writes them into its shared memory, and the receiver reads them there. Within the
    stream they would be copied twice. This works with every protocol, as NumPy's own arrays do.
    """
    return put_together, (array.dtype, array.shape, array.stype, np.frombuffer(array.data, "u1"))


def put_together(dtype: str, shape: tuple[int, ...], stype: str, data: NDArray) -> Array:
    array = Array(dtype, shape, stype, b"")
    array.data = cast(bytes, data.data.toreadonly())  # is read, sliced and compared as bytes are
    return array


copyreg.pickle(Array, take_apart)


def _ask_for_huge_pages(fresh: NDArray) -> None:
    """Advise Linux to use huge pages for a large block, as NumPy does for its own arrays.

    Otherwise there would be a page fault for every 4 KiB, together half the time of a mean. If the
    advice is not followed, only the speed differs.
    """
    if _madvise is None or fresh.nbytes < 1 << 22:
        return
    start = -(-fresh.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    length = fresh.ctypes.data + fresh.nbytes - start
    _madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
