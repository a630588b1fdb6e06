"""Preparing a federated config, for a simulation on this machine or for sites on theirs."""

from data_partition.datasets import dataset_choice, find_dataset
from fl_server.resources import Resources, plan_resources
from training.config import ExperimentConfig
from training.device import resolve_device
from training.errors import ConfigError
from training.memory import training_bytes
from training.preparation import (
    PATH_KEYS,
    check_backbone,
    check_paths,
    find_dataset_and_device,
)
from training.study import resolve


def prepare_simulated(config: ExperimentConfig) -> tuple[ExperimentConfig, Resources]:
    """Resolve a config on this machine, and plan its clients.

    Raises:
        ConfigError: a path is not absolute, or the machine cannot do what the config asks for.
        DataError: ``data-dir`` contains no known data set.
    """
    dataset, device = find_dataset_and_device(config)
    resources = plan_resources(
        config.asked_clients, cuda=device == "cuda", client_bytes=training_bytes(config)
    )
    resolved = resolve(
        config,
        dataset=dataset,
        device=device,
        threads_per_client=resources.threads_per_client,
    )
    return resolved, resources


def prepare_deployed(config: ExperimentConfig) -> ExperimentConfig:
    """Resolve a config that sites will run, except what depends on each site's machine.

    ``device = "auto"`` and ``threads-per-client = 0`` stay as they are.

    Raises:
        ConfigError: a key sets something that only a site can know, or a required key is missing.
    """
    faults = []
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
