"""How many clients compute side by side on this machine, and with how many threads each."""

from dataclasses import dataclass

import joblib
import psutil


@dataclass(frozen=True)
class Resources:
    """A plan for one machine.

    Attributes:
        concurrency: clients that compute at the same time.
        threads_per_client: CPU threads of each.
        gpu_fraction: the part of the one GPU that each is given; 0 without a GPU.
    """

    concurrency: int
    threads_per_client: int
    gpu_fraction: float


def plan(clients: int, *, cuda: bool, client_bytes: int, cpus: int | None = None) -> Resources:
    """Plan a simulation of ``clients`` clients.

    Up to two clients for each core run side by side with whole cores' worth of threads: three
    one-thread clients on two cores finish before two clients that wait for a third. Beyond that
    one per core is as fast and holds fewer models. Memory bounds both.

    Args:
        clients: M ≥ 1.
        cuda: whether they share one GPU, each an equal fraction by Ray's count.
        client_bytes: memory that each takes, as of `training.memory.training_bytes`.
        cpus: cores to plan for; None for this machine's.
    """
    cores = cpus or joblib.cpu_count()  # heeds affinity and a container's limits
    free = psutil.virtual_memory().available
    at_once = max(1, min(concurrency(clients, cores), free // client_bytes))
    return Resources(
        concurrency=at_once,
        threads_per_client=max(1, cores // at_once),
        gpu_fraction=1 / at_once if cuda else 0.0,
    )


def concurrency(clients: int, cores: int) -> int:
    """Return how many clients compute at the same time where memory is no matter."""
    return clients if clients <= 2 * cores else cores
