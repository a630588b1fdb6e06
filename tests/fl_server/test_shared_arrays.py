"""Messages that hold the same arrays have one copy of them in Ray's shared memory."""

import copyreg
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import ray
from flwr.app import Array

from fl_server.shared_arrays import LEAST, share_arrays
from strategies.arrays import take_apart, to_record, views


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[np.ndarray]]:
    """What was put into the shared memory; a reference is a place in it."""
    put: list[np.ndarray] = []

    def keep(values: np.ndarray) -> int:
        put.append(values)
        return len(put) - 1

    monkeypatch.setattr(ray, "put", keep)
    monkeypatch.setattr(ray, "get", put.__getitem__)
    share_arrays()
    yield put
    copyreg.pickle(Array, take_apart)


def received(message: bytes) -> dict[str, np.ndarray]:
    """The arrays that a client finds in a message, which Ray pickles; this one was written here."""
    return views(pickle.loads(message))  # noqa: S301


def test_a_large_array_is_written_once_and_a_small_one_with_each_message(
    store: list[np.ndarray],
) -> None:
    large, small = np.arange(LEAST // 4, dtype=np.float32), np.arange(3.0)
    record = to_record({"large": large, "small": small})
    messages = [pickle.dumps(record) for _ in range(3)]
    assert len(store) == 1
    assert store[0].nbytes == len(record["large"].data)
    assert all(len(message) < 10_000 for message in messages)
    for message in messages:
        found = received(message)
        np.testing.assert_array_equal(found["large"], large)
        np.testing.assert_array_equal(found["small"], small)
        assert not found["large"].flags.writeable, "the others read it, too"


def test_other_arrays_are_others(store: list[np.ndarray]) -> None:
    for number in (1.0, 2.0):
        record = to_record({"large": np.full(LEAST // 4, number, np.float32)})
        assert received(pickle.dumps(record))["large"][0] == number
    assert len(store) == 2
