"""A simulation on a Ray cluster: its config resolved, its clients planned for the machines."""

from collections.abc import Mapping, Sequence

from fl_server.federated_config import RAY_PARTS, Resources
from fl_server.ray_cluster import RayCluster
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.device import gpu_totals
from training.errors import ConfigError
from training.memory import TrainingMemory, training_memory
from training.preparation import find_dataset_and_device
from training.study import resolve


def prepare_on_cluster(
    config: ExperimentConfig, cluster: RayCluster
) -> tuple[ExperimentConfig, Resources]:
    """Resolve a config for the machines of a Ray cluster, and plan its clients.

    The device is that of this machine, where the server is.

    Raises:
        ConfigError, DataError: as for `prepare_simulated`; or the cluster is in use, or has no
            place for a client; or clients would keep files in a folder that not all machines see.
    """
    dataset, device = find_dataset_and_device(config)
    cores = sum(machine.resources.get("CPU", 0) for machine in cluster.machines)
    if cluster.free_cpus < cores:  # a client without a place would wait for ever
        raise ConfigError(
            f"--ray-address {cluster.address}: {cores - cluster.free_cpus:g} of {cores:g} cores "
            "are in use; a simulation needs the whole cluster"
        )
    if not cluster.shared and (kept := _kept_at_clients(config)):
        raise ConfigError(
            f"{kept}: clients keep files in the run folder, and a client may be on another machine "
            "in the next round; choose an --out that all machines of the cluster see"
        )
    threads = config.threads_per_client
    resolved = resolve(config, dataset=dataset, device=device, threads_per_client=1)
    client = training_memory(resolved)
    resources = plan_cluster(
        config.asked_clients,
        [machine.resources for machine in cluster.machines],
        gpus=gpu_totals(device),
        client=client,
        threads=threads,
    )
    if resources is None:
        raise ConfigError(
            f"--ray-address {cluster.address}: no machine has the cores"
            f"{f' (threads-per-client = {threads})' if threads else ''}, the memory "
            f"({client.machine / 1e9:.1f} GB) {'and the GPU ' if device == 'cuda' else ''}"
            "that a client needs"
        )
    threads = threads or resources.threads_per_client
    return resolved.replace(threads_per_client=threads), resources


def _kept_at_clients(config: ExperimentConfig) -> str:
    """Return the setting with which clients keep files from round to round, "" if none does."""
    keeping = {
        f"client-optimizer = {config.client_optimizer}": config.client_optimizer == "persistent",
        f"strategy = {config.strategy}": METHODS[config.strategy].keeps_at_clients,
        f"wire-format = {config.wire_format}": config.wire_format == "int8",
    }
    return next((setting for setting, keeps in keeping.items() if keeps), "")


def plan_cluster(
    clients: int,
    machines: Sequence[Mapping[str, float]],
    *,
    gpus: Sequence[int],
    client: TrainingMemory,
    threads: int,
) -> Resources | None:
    """Plan a simulation of ``clients`` clients on several machines.

    Every client gets as many cores as leave a place for each, and at least one. Ray places them,
    and starts a process for each place that there is. Memory limits the places of a machine.

    Args:
        clients: M ≥ 1.
        machines: what each has: ``CPU``, ``GPU``, and ``memory`` in bytes.
        gpus: bytes of each of this machine's GPUs, if clients compute on GPUs; the cluster's are
            taken to be like them, and machines without get no client.
        client: as for `plan_resources`.
        threads: of each client; 0 for as many as its cores.

    Returns:
        The plan, None if no machine has a place.
    """
    cuda = bool(gpus)
    most_per_gpu = min(clients, max(1, min(gpus) // client.gpu)) if gpus else 1
    usable = [machine for machine in machines if machine.get("GPU") or not cuda]

    def places(cpus: int, per_gpu: int) -> int:
        counts = [
            int(min(m.get("CPU", 0) / cpus, m["GPU"] * per_gpu if cuda else clients))
            for m in usable
        ]
        fit = all(
            n * client.machine <= m.get("memory", 0) for n, m in zip(counts, usable, strict=True)
        )
        return sum(counts) if fit else 0

    most = max((int(machine.get("CPU", 0)) for machine in usable), default=0)
    plans = [
        (min(clients, found), cpus, -per_gpu)
        for cpus in range(max(1, threads), most + 1)
        for per_gpu in range(1, most_per_gpu + 1)
        if (found := places(cpus, per_gpu))
    ]
    if not plans:
        return None
    at_once, cpus, negative = max(plans)
    fraction = RAY_PARTS // -negative / RAY_PARTS if cuda else 0.0
    return Resources(at_once, threads or cpus, fraction, cluster_cpus=cpus)
