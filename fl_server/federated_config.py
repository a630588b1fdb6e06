"""A federation here, or over sites: its config resolved, its clients planned for the machine."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import joblib

from data_partition.datasets import dataset_choice, find_dataset
from operation.machine_memory import machine_memory
from strategies.methods import METHODS
from training.config import PATH_KEYS, ExperimentConfig
from training.device import gpu_totals, resolve_device
from training.errors import ConfigError
from training.memory import TrainingMemory, training_memory
from training.preparation import (
    check_backbone,
    check_paths,
    find_dataset_and_device,
)
from training.study import resolve

# The parts of one GPU, or of one core, that Ray can tell apart.
RAY_PARTS = 10_000


@dataclass(frozen=True)
class Resources:
    """A plan for one machine, or for a cluster.

    Attributes:
        concurrency: number of clients that compute at the same time.
        threads_per_client: CPU threads of each.
        gpu_fraction: each client's share of one GPU; 0 without a GPU.
        cluster_cpus: on a cluster, the cores that Ray keeps for each client; else 0.
        gpus: on one machine, the GPUs among which Ray places the clients; else 0.
    """

    concurrency: int
    threads_per_client: int
    gpu_fraction: float
    _: KW_ONLY
    cluster_cpus: int = 0
    gpus: int = 0


def plan_resources(
    clients: int, *, gpus: Sequence[int], client: TrainingMemory, cpus: int | None = None
) -> Resources:
    """Plan a simulation of ``clients`` clients.

    Up to two clients per core run in parallel, each with a whole number of threads: three
    one-thread clients on two cores finish before two clients and then the third. With more clients,
    one per core is as fast and needs less memory. Memory limits both, the machine's and the GPUs'.
    What is free of it only limits how many run: the threads, on which bits depend, are the same for
    every run on a machine.

    Args:
        clients: M ≥ 1.
        gpus: bytes of each GPU; the clients share them, each with an equal fraction by Ray's count.
        client: what each takes.
        cpus: number of cores; None for this machine's.
    """
    cores = cpus or joblib.cpu_count()  # respects affinity and a container's limits
    memory = machine_memory()
    planned = min(concurrency(clients, cores), max(1, memory.total // client.machine))
    if gpus:
        planned = min(planned, len(gpus) * max(1, min(gpus) // client.gpu))
    at_once = min(planned, max(1, memory.free // client.machine))
    per_gpu = -(-at_once // len(gpus)) if gpus else 0
    return Resources(
        concurrency=at_once,
        threads_per_client=max(1, cores // planned),
        # Ray counts ten-thousandths: six times a sixth, rounded up, would be more than one GPU.
        gpu_fraction=RAY_PARTS // per_gpu / RAY_PARTS if gpus else 0.0,
        gpus=len(gpus),
    )


def messages_under_way(cpus: int | None = None) -> int:
    """Return how many messages of a simulation are under way or answered before their turn.

    That is twice as many as clients compute at the same time at most, so that one slow client does
    not keep the others waiting.
    """
    return 4 * (cpus or joblib.cpu_count())


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


def prepare_simulated(config: ExperimentConfig) -> tuple[ExperimentConfig, Resources]:
    """Resolve a config on this machine, and plan its clients.

    Raises:
        ConfigError: a path is not absolute, or the machine cannot do what the config asks for.
        DataError: ``data-dir`` contains no known data set.
    """
    dataset, device = find_dataset_and_device(config)
    resolved = resolve(config, dataset=dataset, device=device, threads_per_client=1)
    resources = plan_resources(
        config.asked_clients, gpus=gpu_totals(device), client=training_memory(resolved)
    )
    threads = config.threads_per_client or resources.threads_per_client
    return resolved.replace(threads_per_client=threads), resources


def prepare_deployed(config: ExperimentConfig) -> ExperimentConfig:
    """Resolve a config that sites will run, except what depends on each site's machine.

    ``device = "auto"`` and ``threads-per-client = 0`` stay as they are.

    Raises:
        ConfigError: a key sets something that only a site can know, or a required key is missing.
    """
    faults = []
    if METHODS[config.strategy].pooled:
        faults.append(
            f"strategy = {config.strategy!r}: trains on all hospitals' images in one place, which "
            "only a simulation has (fedskin simulate)"
        )
    if config.dataset == "auto":
        faults.append(f"dataset = 'auto': name the data set of the sites, {dataset_choice()}")
    if config.data_dir:
        faults.append(
            f"data-dir = {config.data_dir!r}: leave it empty; every site names its own images"
        )
    if config.dataset != "auto" and config.test_dir and not find_dataset(config.dataset).load_test:
        faults.append(
            f"test-dir = {config.test_dir!r}: not allowed with dataset = {config.dataset}, whose "
            "sites have test patients of their own"
        )
    if config.allow_overlap:
        faults.append(
            "allow-overlap = true: leave it out; sites' images cannot be compared with the test "
            "set, so no overlap is looked for"
        )
    if config.alignment != "none":
        faults.append(
            f"alignment = {config.alignment!r}: allowed in a simulation only, whose clients share "
            "the folder reference-dir; a site has no such folder"
        )
    if config.leave_out:
        faults.append(
            f"leave-out = {config.leave_out!r}: allowed in a simulation only, whose server has the "
            "images; over sites, start the run without the site, and let it judge the model with "
            "fedskin predict"
        )
    if config.split_file:
        faults.append(
            f"split-file = {config.split_file!r}: allowed in a simulation only; sites' images are "
            "split 60/20/20, with split = lesion-clean without a lesion on two sides"
        )
    if faults:
        raise ConfigError("\n".join(faults))
    check_paths(config)
    check_backbone(config)
    return resolve(
        config,
        dataset=config.dataset,
        device=config.device,
        threads_per_client=config.threads_per_client,
    )


def for_server(config: ExperimentConfig) -> ExperimentConfig:
    """Return a deployed config for evaluation on the coordinator's machine."""
    device = resolve_device("auto")
    precision = config.precision if device == "cuda" else "float32"
    return config.replace(device=device, precision=precision)


def for_sites(config: ExperimentConfig) -> ExperimentConfig:
    """Return a deployed config as it is sent: without the coordinator's paths."""
    return config.replace(**dict.fromkeys(PATH_KEYS, ""))
