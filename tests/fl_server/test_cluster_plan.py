"""Clients on the machines of a cluster: how many at once, with how many cores, threads and GPUs."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fl_server.cluster_plan import plan_cluster, prepare_on_cluster
from fl_server.federated_config import Resources
from fl_server.ray_cluster import Machine, RayCluster
from tests.runs import tiny_config
from training.errors import ConfigError
from training.memory import TrainingMemory

CLIENT = TrainingMemory(machine=10**9, gpu=3 * 10**9)
GPU = 80 * 10**9


def machine(cpus: int, gpus: int = 0, gigabytes: int = 100) -> dict[str, float]:
    return {"CPU": float(cpus), "memory": gigabytes * 1e9, **({"GPU": float(gpus)} if gpus else {})}


@pytest.mark.parametrize(
    "clients, machines, threads, at_once, cpus",
    [
        (3, [machine(8)] * 3, 0, 3, 8),  # one on each
        (3, [machine(8)] * 2, 0, 3, 4),  # two places on each
        (3, [machine(8), machine(3)], 0, 3, 3),  # ⌊8/3⌋ + ⌊3/3⌋
        (10, [machine(2)] * 3, 0, 6, 1),  # in turns
        (3, [machine(8)] * 3, 2, 3, 8),  # threads asked for, cores kept all the same
        (6, [machine(4)] * 3, 4, 3, 4),  # in turns, since each needs four
        (8, [machine(8, gigabytes=2)] * 2, 0, 4, 4),  # memory for two on each
        # The small one has memory for none, and its two cores are less than a client's share.
        (3, [machine(8), machine(2, gigabytes=0)], 0, 2, 4),
    ],
)
def test_places(
    clients: int, machines: list[dict[str, float]], threads: int, at_once: int, cpus: int
) -> None:
    found = plan_cluster(clients, machines, gpus=(), client=CLIENT, threads=threads)
    assert found == Resources(at_once, threads or cpus, 0.0, cluster_cpus=cpus)


def test_clients_share_the_gpus_of_the_machines_that_have_some() -> None:
    machines = [machine(16, gpus=2), machine(64), machine(8, gpus=1)]
    found = plan_cluster(5, machines, gpus=[GPU], client=CLIENT, threads=0)
    # Two clients a GPU are 4 + 2 places; 16/4 and 8/4 cores.
    assert found == Resources(5, 4, 0.5, cluster_cpus=4)


def test_as_many_share_a_gpu_as_have_its_memory() -> None:
    """Of 6 GB, with 3 a client, two; of 5 GB one: the other clients wait their turn."""
    for gigabytes, plan in ((6, Resources(4, 8, 0.5, cluster_cpus=8)), (5, Resources(2, 16, 1.0))):
        found = plan_cluster(
            5, [machine(16, gpus=1)] * 2, gpus=[gigabytes * 10**9], client=CLIENT, threads=0
        )
        assert found == replace(plan, cluster_cpus=plan.threads_per_client)


@pytest.mark.parametrize(
    "machines, threads, gpus",
    [([machine(4)], 8, ()), ([machine(4)], 0, [GPU]), ([machine(4, gigabytes=0)], 0, ())],
)
def test_no_place(machines: list[dict[str, float]], threads: int, gpus: list[int]) -> None:
    found = plan_cluster(3, machines, gpus=gpus, client=CLIENT, threads=threads)
    assert found is None


def cluster(*, shared: bool, free: float = 4.0) -> RayCluster:
    machines = (Machine("a (10.0.0.1)", "1", machine(2)), Machine("b (10.0.0.2)", "2", machine(2)))
    return RayCluster("10.0.0.1:6379", machines, shared, free)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"client_optimizer": "persistent"}, "client-optimizer = persistent"),
        ({"strategy": "scaffold"}, "strategy = scaffold"),
        ({"strategy": "fedbn"}, "strategy = fedbn"),
        ({"strategy": "ditto"}, "strategy = ditto"),
        ({"wire_format": "int8"}, "wire-format = int8"),
    ],
)
def test_clients_that_keep_files_need_a_shared_folder(
    synthetic_ham: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    config = tiny_config(synthetic_ham, tmp_path, **changes)
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}: clients keep files"):
        prepare_on_cluster(config, cluster(shared=False))
    assert prepare_on_cluster(config, cluster(shared=True))[1].cluster_cpus == 1
    plain = tiny_config(synthetic_ham, tmp_path)
    assert prepare_on_cluster(plain, cluster(shared=False))[1].concurrency == 3


def test_a_cluster_in_use_or_without_the_cores_is_refused(
    synthetic_ham: Path, tmp_path: Path
) -> None:
    config = tiny_config(synthetic_ham, tmp_path)
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1:6379: 1 of 4 cores are in use"):
        prepare_on_cluster(config, cluster(shared=True, free=3.0))
    with pytest.raises(ConfigError, match=r"no machine has the cores \(threads-per-client = 8\)"):
        prepare_on_cluster(config.replace(threads_per_client=8), cluster(shared=True))
