import math
from types import SimpleNamespace

import pytest

from fl_server import federated_config
from fl_server.federated_config import Resources, plan_resources
from training.memory import TrainingMemory

RESNET18 = TrainingMemory(machine=1_270_000_000, gpu=1_500_000_000)
CONVNEXT_L = TrainingMemory(machine=5_710_000_000, gpu=18_000_000_000)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine whose memory, in bytes, a test sets."""
    machine = SimpleNamespace(total=10**12, free=10**12)
    monkeypatch.setattr(federated_config, "machine_memory", lambda: machine)
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
    found = plan_resources(clients, gpus=(), client=RESNET18, cpus=cpus)
    assert found == Resources(concurrency, threads, 0.0)


@pytest.mark.parametrize(
    "gigabytes, concurrency",
    [(100, 3), (17.2, 3), (17.1, 2), (11.5, 2), (11.4, 1), (5.8, 1), (0.1, 1)],
)
def test_memory_bounds_them(memory: SimpleNamespace, gigabytes: float, concurrency: int) -> None:
    memory.total = memory.free = gigabytes * 1e9
    found = plan_resources(3, gpus=(), client=CONVNEXT_L, cpus=6)
    assert found == Resources(concurrency, 6 // concurrency, 0.0)


def test_what_others_take_of_the_memory_changes_no_bits(memory: SimpleNamespace) -> None:
    """Fewer clients at the same time, with the threads of a run that has the machine for itself."""
    memory.total = 100e9
    for gigabytes, concurrency in ((100, 3), (12, 2), (1, 1)):
        memory.free = gigabytes * 1e9
        found = plan_resources(3, gpus=(), client=CONVNEXT_L, cpus=6)
        assert found == Resources(concurrency, 2, 0.0)


@pytest.mark.parametrize("gpus", [1, 2, 3, 8])
@pytest.mark.parametrize("clients", range(1, 17))
@pytest.mark.usefixtures("memory")
def test_clients_share_the_gpus(clients: int, gpus: int) -> None:
    found = plan_resources(clients, gpus=[10**11] * gpus, client=RESNET18, cpus=8)
    most = math.ceil(clients / gpus)  # clients on the fullest GPU
    # Ray rounds a share to ten-thousandths: so many must fit into one GPU, and no further one.
    assert most * round(found.gpu_fraction * 10_000) <= 10_000
    assert (most + 1) * found.gpu_fraction > 1
    assert (found.concurrency, found.gpus) == (clients, gpus)


# Of GPUs with so many GB, of which a client needs 18: two share one of 40; of eight of 12, which is
# too little, each has a client all the same; the smallest decides.
@pytest.mark.parametrize(
    "gigabytes, concurrency, fraction",
    [([80], 4, 0.25), ([40], 2, 0.5), ([40, 40], 4, 0.5), ([12] * 8, 8, 1.0), ([40, 20], 2, 1.0)],
)
@pytest.mark.usefixtures("memory")
def test_as_many_share_a_gpu_as_have_its_memory(
    gigabytes: list[int], concurrency: int, fraction: float
) -> None:
    gpus = [number * 10**9 for number in gigabytes]
    found = plan_resources(16, gpus=gpus, client=CONVNEXT_L, cpus=8)
    assert (found.concurrency, found.gpu_fraction) == (concurrency, fraction)


def test_this_machine_can_be_planned_for() -> None:
    found = plan_resources(3, gpus=(), client=RESNET18)
    assert found.concurrency >= 1
    assert found.threads_per_client >= 1
