from types import SimpleNamespace

import pytest

from fl_server import federated_config
from fl_server.federated_config import Resources, plan_resources

# Bytes of a client.
RESNET18, CONVNEXT_L = 1_270_000_000, 5_710_000_000


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine whose free memory, in bytes, a test sets."""
    machine = SimpleNamespace(available=10**12)
    monkeypatch.setattr(federated_config.psutil, "virtual_memory", lambda: machine)
    return machine


# Up to two clients a core run side by side, else as many as cores; the cores' threads are shared.
@pytest.mark.parametrize(
    "clients, cpus, concurrency, threads",
    [
        (1, 1, 1, 1),
        (1, 8, 1, 8),
        (3, 2, 3, 1),
        (4, 2, 4, 1),
        (5, 2, 2, 1),  # more than two a core
        (3, 8, 3, 2),  # ⌊8/3⌋
        (3, 16, 3, 5),
        (100, 16, 16, 1),
    ],
)
@pytest.mark.usefixtures("memory")
def test_clients_side_by_side(clients: int, cpus: int, concurrency: int, threads: int) -> None:
    found = plan_resources(clients, cuda=False, client_bytes=RESNET18, cpus=cpus)
    assert found == Resources(concurrency, threads, 0.0)


@pytest.mark.parametrize(
    "gigabytes, concurrency",
    [(100, 3), (17.2, 3), (17.1, 2), (11.5, 2), (11.4, 1), (5.8, 1), (0.1, 1)],
)
def test_memory_bounds_them(memory: SimpleNamespace, gigabytes: float, concurrency: int) -> None:
    memory.available = gigabytes * 1e9
    found = plan_resources(3, cuda=False, client_bytes=CONVNEXT_L, cpus=6)
    assert found == Resources(concurrency, 6 // concurrency, 0.0)


@pytest.mark.parametrize("clients", range(1, 17))
def test_clients_share_the_gpu(clients: int) -> None:
    fraction = plan_resources(clients, cuda=True, client_bytes=RESNET18, cpus=8).gpu_fraction
    # Ray rounds a share to ten-thousandths: all must still fit into one GPU, and no further one.
    assert clients * round(fraction * 10_000) <= 10_000
    assert (clients + 1) * fraction > 1


def test_this_machine_can_be_planned_for() -> None:
    found = plan_resources(3, cuda=False, client_bytes=RESNET18)
    assert found.concurrency >= 1
    assert found.threads_per_client >= 1
