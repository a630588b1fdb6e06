"""Timing several functions so that changes in the machine's load affect all of them equally."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch


def interleaved(
    sides: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Call all sides alternately, repeatedly, and return the seconds of each call.

    Anything that slows the machine for a while slows all sides. The order is reversed from turn to
    turn, so that no side always comes after the same other one. The result of a call is freed after
    the clock has stopped.

    Args:
        sides: the functions by name.
        repeats: samples of each side, at least 1.
        warm_up: turns at the start that are not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm_up + repeats):
        order = list(sides)[:: 1 if turn % 2 == 0 else -1]
        for name in order:
            started = time.perf_counter()
            returned = sides[name]()
            taken = time.perf_counter() - started
            del returned
            if turn >= warm_up:
                seconds[name].append(taken)
    return seconds


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use this many threads within the ``with`` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
