import copy
import pickle
from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from strategies.arrays import Blank, num_bytes, to_record, view, views

ARRAYS = {
    "float32": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "float16": np.array([[65504, -0.0, 6e-8]], dtype=np.float16),
    "float64": np.array([np.nan, np.inf, 5e-324]),
    "int64": np.array([[[2**62]], [[-1]]]),
    "uint8": np.arange(256, dtype=np.uint8),
    "bool": np.array([True, False]),
    "0-d": np.array(17),
    "0-d float": np.array(2.5, dtype=np.float32),
    "empty": np.zeros((0, 3), dtype=np.float32),
}
every_array = pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)


def saved(array: NDArray, **options: bool) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def declared(data: bytes, dtype: str = "float32", shape: tuple[int, ...] = (3, 4)) -> Array:
    return Array(dtype, shape, "numpy.ndarray", data)


@every_array
def test_a_view_is_what_flower_reads(array: NDArray) -> None:
    sent = Array(array)
    found, expected = view(sent), sent.numpy()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes() == array.tobytes()


def test_a_view_copies_nothing_and_cannot_be_written_to() -> None:
    sent = Array(ARRAYS["float32"])
    found = view(sent)
    assert np.shares_memory(found, np.frombuffer(sent.data, dtype=np.uint8))
    assert not found.flags.writeable
    assert not found.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


@pytest.mark.parametrize(
    "array, reason",
    [
        (declared(saved(ARRAYS["float32"]), dtype="float64"), "not the .npy file of the float64"),
        (
            declared(saved(ARRAYS["float32"]), shape=(4, 3)),
            r"file of the float32 \(4, 3\)",
        ),
        (
            declared(saved(ARRAYS["float32"]), shape=(12,)),
            r"file of the float32 \(12,\)",
        ),
        (declared(saved(ARRAYS["float32"])[:-4]), "holds 11 values, too few or too many"),
        (declared(saved(ARRAYS["float32"]) + bytes(4)), "holds 13 values, too few or too many"),
        (declared(saved(ARRAYS["float32"])[:-1]), "holds 11 values, too few"),
        (declared(saved(ARRAYS["float32"])[:40]), "not the .npy file"),
        (declared(b""), "not the .npy file"),
        (declared(b"PK\x03\x04 a zip archive"), "not the .npy file"),
        (declared(saved(np.asfortranarray(ARRAYS["float32"]))), "not the .npy file"),
        (declared(saved(ARRAYS["float32"].astype(">f4")), dtype=">f4"), "not accepted"),
        (
            declared(saved(np.array([{}]), allow_pickle=True), dtype="object", shape=(1,)),
            "dtype 'object', which is not accepted",
        ),
        (Array("float32", (1,), "torch", b"x"), "is serialised as 'torch'"),
        # A parser of Python's literals would take this for nested lists without end.
        (declared(b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535), "not the .npy file"),
        (declared(saved(ARRAYS["float32"]), dtype="," * 10**6), "which is not accepted"),
        (declared(saved(ARRAYS["float32"]), shape=(0, 10**30)), "has the shape"),
        (declared(saved(ARRAYS["float32"]), shape=(-3, -4)), "has the shape"),
    ],
)
def test_bytes_that_are_not_what_they_say_are_refused_by_name(array: Array, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        view(array)
    with pytest.raises(ValueError, match=rf"^layer\.weight .*{reason}"):
        views(ArrayRecord({"fine": Array(np.zeros(2)), "layer.weight": array}))


def test_an_array_in_one_dimension_is_in_both_orders() -> None:
    array = np.asfortranarray(np.arange(3.0))
    assert view(Array(array)).tolist() == [0, 1, 2]


@every_array
def test_serialised_bytes_are_those_of_numpy(array: NDArray) -> None:
    made = to_record({"name": array})["name"]
    assert made.data == saved(array)
    assert (made.dtype, made.shape, made.stype) == (
        str(array.dtype),
        array.shape,
        "numpy.ndarray",
    )


def test_memory_order_does_not_reach_the_bytes() -> None:
    array = ARRAYS["float32"]
    made = to_record(
        {"f": np.asfortranarray(array), "strided": np.repeat(array, 2, axis=1)[:, ::2]}
    )
    assert made["f"].data == made["strided"].data == saved(array)


def test_names_keep_their_order_and_views_bring_them_back() -> None:
    found = views(to_record(ARRAYS))
    assert list(found) == list(ARRAYS)
    assert all(found[name].tobytes() == array.tobytes() for name, array in ARRAYS.items())


def test_blank_gives_zeros_to_write_into() -> None:
    blank = Blank(np.dtype(np.int64), (2, 3))
    assert blank.values.dtype == np.int64
    assert blank.values.shape == (2, 3)
    assert not blank.values.any()
    blank.values[1] = 7
    assert blank.finish().data == saved(np.array([[0] * 3, [7] * 3]))


T = TypeVar("T")


def in_band(value: T, protocol: int = 5) -> T:
    copied: T = pickle.loads(pickle.dumps(value, protocol))  # noqa: S301, our own bytes
    return copied


def beside(value: T) -> tuple[int, T]:
    """Pickle as Ray does; the length of the stream and what comes out of it and the buffers."""
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return len(stream), pickle.loads(stream, buffers=buffers)  # noqa: S301, our own bytes


def test_ray_gets_the_bytes_beside_the_stream_and_nobody_copies_them() -> None:
    array = np.arange(100_000.0)
    sent = to_record({"w": array})
    length, received = beside(sent)
    assert length < 1000 < array.nbytes
    assert np.shares_memory(view(received["w"]), np.frombuffer(sent["w"].data, np.uint8))
    assert not view(received["w"]).flags.writeable


@pytest.mark.parametrize(
    "travel",
    [
        lambda record: in_band(record, protocol=4),
        lambda record: in_band(record, protocol=5),
        lambda record: beside(record)[1],
        copy.deepcopy,
    ],
    ids=["protocol 4", "in band", "out of band", "deepcopy"],
)
def test_a_pickled_record_is_the_same_and_can_travel_on(
    travel: Callable[[ArrayRecord], ArrayRecord],
) -> None:
    sent = to_record(ARRAYS)
    once = travel(sent)
    for received in (once, travel(once)):
        assert received == sent
        assert num_bytes(received) == num_bytes(sent)
        for name, array in ARRAYS.items():
            assert view(received[name]).tobytes() == array.tobytes()
            assert received[name].numpy().tobytes() == array.tobytes()


def test_flower_serialises_a_received_array_as_the_one_that_was_sent() -> None:
    """For the network it cuts arrays into chunks and names them by their contents."""
    sent = to_record({"w": ARRAYS["float32"]})
    received = in_band(sent)
    assert received.object_id == sent.object_id
    assert received["w"].deflate() == sent["w"].deflate()


def test_bytes_that_cannot_be_read_can_be_pickled() -> None:
    for array in (declared(b""), Array("float32", (1,), "torch", b"x")):
        assert in_band(array) == array


def test_bytes_on_the_wire() -> None:
    """NumPy's headers are 128 bytes; 12 float32 and one int64 follow."""
    record = to_record({"w": ARRAYS["float32"], "n": ARRAYS["0-d"]})
    assert num_bytes(record) == (128 + 48) + (128 + 8)
    assert num_bytes(ArrayRecord()) == 0
