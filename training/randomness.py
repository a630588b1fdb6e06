"""Randomness: every number is drawn from (seed, round, client) and a purpose."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *, round_number: int, client_index: int, purpose: str) -> int:
    """Return a 63-bit seed for one purpose in one client's round.

    The same numbers always give the same seed, on every machine; any other number or purpose
    gives an unrelated one.
    """
    entropy = [seed, round_number, client_index, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def layer_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed what dropout and stochastic depth draw, and put the process's generator back after.

    Those layers of torchvision can only draw from torch's own generators, so these are seeded
    for the time of one client's training, which also makes the order of clients irrelevant.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
