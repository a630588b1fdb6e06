"""The number of clients that compute in parallel on this machine, and the threads of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import joblib
import psutil

# The parts of one GPU, or of one core, that Ray can tell apart.
RAY_PARTS = 10_000


@dataclass(frozen=True)
class Resources:
    """A plan for one machine.

    Attributes:
        concurrency: number of clients that compute at the same time.
        threads_per_client: CPU threads of each.
        gpu_fraction: each client's share of the one GPU; 0 without a GPU.
    """

    concurrency: int
    threads_per_client: int
    gpu_fraction: float


def plan_resources(
    clients: int, *, cuda: bool, client_bytes: int, cpus: int | None = None
) -> Resources:
    """Plan a simulation of ``clients`` clients.

    Up to two clients per core run in parallel, each with a whole number of threads: three
    one-thread clients on two cores finish before two clients and then the third. With more clients,
    one per core is as fast and needs less memory. Memory limits both.

    Args:
        clients: M ≥ 1.
        cuda: whether they share one GPU, each with an equal fraction by Ray's count.
        client_bytes: memory of each, from `training.memory.training_bytes`.
        cpus: number of cores; None for this machine's.
    """
    cores = cpus or joblib.cpu_count()  # respects affinity and a container's limits
    free = psutil.virtual_memory().available
    at_once = max(1, min(concurrency(clients, cores), free // client_bytes))
    return Resources(
        concurrency=at_once,
        threads_per_client=max(1, cores // at_once),
        # Ray counts ten-thousandths: six times a sixth, rounded up, would be more than one GPU.
        gpu_fraction=RAY_PARTS // at_once / RAY_PARTS if cuda else 0.0,
    )


def concurrency(clients: int, cores: int) -> int:
    """Return how many clients compute at the same time if memory is sufficient."""
    return clients if clients <= 2 * cores else cores


def makespan(working: Sequence[float], side_by_side: int) -> float:
    """Return the time that clients take together if they take turns.

    Each starts, in order, as soon as an earlier one has finished.

    Args:
        working: working seconds of each client, in the fixed order of the clients; not empty.
        side_by_side: number of clients that work at the same time, ≥ 1.
    """
    free = [0.0] * min(side_by_side, len(working))
    for seconds in working:
        first = free.index(min(free))
        free[first] += seconds
    return max(free)
