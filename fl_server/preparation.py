"""From the config that a person wrote to the one that runs: nothing left open, paths absolute."""

from pathlib import Path

from fl_server.resources import Resources, plan
from models.registry import find
from training.config import ExperimentConfig
from training.device import resolve_device
from training.errors import ConfigError
from training.study import resolve

PATH_KEYS = ("data-dir", "test-dir", "weights-dir", "run-dir", "cache-dir")


def prepare(config: ExperimentConfig) -> tuple[ExperimentConfig, Resources]:
    """Resolve a config on this machine, and plan its clients.

    Raises:
        ConfigError: a path is not absolute, or the machine lacks what is asked for.
    """
    for key in PATH_KEYS:
        path = str(config.to_flat()[key])
        if path and not Path(path).is_absolute():
            raise ConfigError(
                f"{key} = {path!r}: write the whole path, since Flower runs the app elsewhere"
            )
    device = resolve_device(config.device)
    if config.precision == "bfloat16" and device != "cuda":
        raise ConfigError(f"precision = 'bfloat16': needs device = cuda, but here is {device}")
    megabytes = find(config.backbone).megabytes
    resources = plan(config.clients, cuda=device == "cuda", megabytes=megabytes)
    resolved = resolve(
        config,
        dataset="ham10000",
        device=device,
        threads_per_client=resources.threads_per_client,
    )
    return resolved, resources
