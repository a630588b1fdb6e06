"""Named arrays in and out of Flower's records, without copies where there need be none."""

from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.lib import format as npy
from numpy.typing import NDArray


def view(array: Array) -> NDArray:
    """Return a read-only NumPy view of a Flower array's bytes; nothing is copied.

    Raises:
        ValueError: the bytes are not a plain, C-ordered ``.npy`` file of the array's own dtype
            and shape. Object arrays, which would need pickle, are refused with the rest.
    """
    if array.stype != "numpy.ndarray":
        raise ValueError(f"is serialised as {array.stype!r}, not as a NumPy array")
    head = BytesIO(array.data[:4096])
    version = npy.read_magic(head)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read_header(head)
    if dtype.hasobject or dtype.byteorder == ">" or (fortran_order and len(shape) > 1):
        raise ValueError(f"holds {dtype} in an order that is not accepted")
    if (str(dtype), tuple(shape)) != (array.dtype, tuple(array.shape)):
        raise ValueError(
            f"holds {dtype} {shape}, but is declared as {array.dtype} {tuple(array.shape)}"
        )
    flat = np.frombuffer(array.data, dtype=dtype, offset=head.tell())
    if flat.size != int(np.prod(shape)):
        raise ValueError(f"holds {flat.size} values, too few or too many for shape {shape}")
    return flat.reshape(shape)


def views(record: ArrayRecord) -> dict[str, NDArray]:
    """Return a read-only view of every array of a record, by name.

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


def filled(dtype: np.dtype, shape: tuple[int, ...], fill: Callable[[NDArray], None]) -> Array:
    """Make a Flower array whose values are written straight into its bytes.

    Args:
        dtype: of the values.
        shape: of the values.
        fill: writes them into the zeroed array that it is given, and keeps no reference to it.
    """
    head = BytesIO()
    layout = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(head, layout)
    offset = head.tell()
    # A BytesIO that alone owns its bytes lends them for writing and gives them back uncopied.
    buffer = BytesIO(bytes(offset + int(np.prod(shape)) * dtype.itemsize))
    with buffer.getbuffer() as memory:
        memory[:offset] = head.getvalue()
        values = np.frombuffer(memory, dtype=dtype, offset=offset).reshape(shape)
        fill(values)
        del values
    return Array(str(dtype), shape, "numpy.ndarray", buffer.getvalue())


def to_record(arrays: Mapping[str, NDArray]) -> ArrayRecord:
    """Serialise named arrays; makes exactly one copy of them."""
    return ArrayRecord(
        {
            name: filled(array.dtype, array.shape, partial(_copy_into, array))
            for name, array in arrays.items()
        }
    )


def _copy_into(source: NDArray, target: NDArray) -> None:
    np.copyto(target, source)


def num_bytes(record: ArrayRecord) -> int:
    """Return how many bytes the arrays of a record take on the wire."""
    return sum(len(array.data) for array in record.values())
