"""Randomness: every random number depends only on (seed, round, client, purpose)."""

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
    """Seed the generators of dropout and stochastic depth, and restore their state afterwards.

    These layers of torchvision can only use torch's global generators, so these are seeded during
    one client's training; this also makes the order of clients irrelevant.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
