"""Batches from an image store, or of kept features, on their way to a device."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Read = TypeVar("Read")

# How many batches are read before they are needed; one more would only use memory.
AHEAD = 2


def stored_batches(
    images: NDArray, batches: Sequence[NDArray[np.int64]], device: torch.device
) -> Iterator[Tensor]:
    """Yield the rows of each batch on a device, in order.

    For CUDA a thread reads ahead, because this one is needed to start kernels: a small network's
    steps take hardly longer than that. On a CPU the thread would take the cores from the network.

    Args:
        images: (N, …) of an image store, or other input.
        batches: the rows of each, as indices (B,) of ``images``.
    """
    read = partial(_read, images, device)
    if device.type == "cuda":
        rows = read_ahead(partial(read, batch) for batch in batches)
    else:
        rows = (read(batch) for batch in batches)
    for batch in rows:
        yield batch.to(device, non_blocking=True)


def to_device(rows: NDArray, device: torch.device) -> Tensor:
    """Copy rows to a device; for CUDA through pinned memory, so that nobody waits for the copy."""
    return _pinned(rows, device).to(device, non_blocking=True)


def read_ahead(calls: Iterable[Callable[[], Read]]) -> Iterator[Read]:
    """Yield what each call returns, in order; a thread makes the next `AHEAD` calls meanwhile.

    An error that a call raises is raised in its place. No thread is left when the iterator is
    closed.
    """
    remaining = iter(calls)
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        waiting: deque[Future[Read]] = deque(map(reader.submit, islice(remaining, AHEAD)))
        while waiting:
            first = waiting.popleft()
            waiting.extend(map(reader.submit, islice(remaining, 1)))
            yield first.result()


def _read(images: NDArray, device: torch.device, rows: NDArray[np.int64]) -> Tensor:
    return _pinned(images[rows], device)


def _pinned(rows: NDArray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(rows)
    return tensor.pin_memory() if device.type == "cuda" else tensor
