"""Batches of stored rows: read ahead by a thread, in order, and never more than needed."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch

from training.stored_batches import AHEAD, read_ahead, stored_batches, to_device

# As an image store has them: only images are read ahead.
IMAGES = np.arange(72, dtype=np.uint8).reshape(6, 2, 2, 3)
BATCHES = [np.array([5, 0]), np.array([3]), np.array([1, 1, 4])]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    ),
]


@pytest.mark.parametrize("device", DEVICES)
def test_the_rows_of_each_batch_in_order(device: str) -> None:
    where = torch.device(device)
    found = [batch.cpu().numpy() for batch in stored_batches(IMAGES, BATCHES, where)]
    for batch, rows in zip(found, BATCHES, strict=True):
        np.testing.assert_array_equal(batch, IMAGES[rows])
    np.testing.assert_array_equal(to_device(IMAGES[:2], where).cpu().numpy(), IMAGES[:2])
    assert list(stored_batches(IMAGES, [], where)) == []


def test_a_thread_reads_the_next_batches_and_no_more() -> None:
    given: list[int] = []
    threads: set[str] = set()

    def call(number: int) -> int:
        threads.add(threading.current_thread().name)
        return number

    def calls() -> Iterator[Callable[[], int]]:
        for number in range(AHEAD + 3):
            given.append(number)
            yield partial(call, number)

    reading = read_ahead(calls())
    assert next(reading) == 0
    assert given == list(range(AHEAD + 1))  # the one that was asked for, and those ahead of it
    assert list(reading) == list(range(1, AHEAD + 3))
    assert all(name.startswith("reader") for name in threads)


def test_an_error_is_raised_in_its_place_and_no_thread_is_left() -> None:
    def fail() -> int:
        raise OSError("the disk is gone")

    reading = read_ahead([lambda: 1, fail, lambda: 3])
    assert next(reading) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(reading)
    unfinished = read_ahead([lambda: 1, lambda: 2, lambda: 3, lambda: 4])
    next(unfinished)
    unfinished.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("reader")]
