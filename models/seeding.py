"""Torch's global generator, for libraries that can use no other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()


@contextmanager
def seeded_globally(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator, and restore its old state afterwards.

    Use it in one thread of a process at a time: all threads share this generator.
    """
    # Not torch.manual_seed: it would also seed every GPU's generator.
    with _LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
