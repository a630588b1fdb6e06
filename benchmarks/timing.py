"""Timing several ways of doing one thing so that a noisy machine treats them alike."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch


def interleaved(
    sides: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Call every side in turn, over and over, and return the seconds of each call.

    Whatever slows the machine for a while slows all sides. Which side comes first changes from
    turn to turn, so that none is always the one after another. What a call returns is let go
    after the clock has stopped.

    Args:
        sides: what to call, by name.
        repeats: samples of each side, at least 1.
        warm_up: turns beforehand that do not count.
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
    """Let torch compute with this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
