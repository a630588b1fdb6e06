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


def sample_clients(seed: int, *, round_number: int, clients: int, size: int) -> list[int]:
    """Return the indices of the clients that train in a round, in ascending order.

    Each set of ``size`` of them is equally likely, and rounds are independent, as in Algorithm 1 of
    McMahan et al., 2017.

    Args:
        round_number: counted from 1 over the whole run.
        size: 1 to ``clients``.
    """
    drawn_from = derive_seed(seed, round_number=round_number, client_index=0, purpose="clients")
    drawn = np.random.default_rng(drawn_from).choice(clients, size, replace=False)
    return sorted(drawn.tolist())


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
