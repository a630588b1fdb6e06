"""A federated config on this machine: resolved, and its clients planned."""

from fl_server.resources import Resources, plan
from models.registry import find
from training.config import ExperimentConfig
from training.preparation import find_dataset_and_device
from training.study import resolve


def prepare(config: ExperimentConfig) -> tuple[ExperimentConfig, Resources]:
    """Resolve a config on this machine, and plan its clients.

    Raises:
        ConfigError: a path is not absolute, or the machine lacks what is asked for.
        DataError: ``data-dir`` holds no data set that is known.
    """
    dataset, device = find_dataset_and_device(config)
    megabytes = find(config.backbone).megabytes
    resources = plan(config.clients, cuda=device == "cuda", megabytes=megabytes)
    resolved = resolve(
        config,
        dataset=dataset,
        device=device,
        threads_per_client=resources.threads_per_client,
    )
    return resolved, resources
