"""Resolves a config for this machine: data set, device and threads."""

from pathlib import Path

import joblib

from training.config import ExperimentConfig
from training.device import resolve_device
from training.errors import ConfigError
from training.experiment_data import recognise
from training.study import resolve

PATH_KEYS = ("data-dir", "test-dir", "weights-dir", "run-dir", "cache-dir")


def check_paths(config: ExperimentConfig) -> None:
    """Refuse relative paths, because Flower runs the app in another folder.

    Raises:
        ConfigError: a path is not absolute.
    """
    for key in PATH_KEYS:
        path = str(config.to_flat()[key])
        if path and not Path(path).is_absolute():
            raise ConfigError(
                f"{key} = {path!r}: write an absolute path; Flower runs the app in another folder"
            )


def find_dataset_and_device(config: ExperimentConfig) -> tuple[str, str]:
    """Return the data set in ``data-dir`` and the device to compute on.

    Raises:
        ConfigError: a path is not absolute, a key is for sites only, or the machine lacks what is
            requested.
        DataError: ``data-dir`` holds no known data set.
    """
    check_paths(config)
    if config.round_timeout:
        raise ConfigError(
            f"round-timeout = {config.round_timeout}: allowed over sites only (fedskin run); here "
            "every client is on this machine, and its speed must not decide who takes part"
        )
    device = resolve_device(config.device)
    if config.precision == "bfloat16" and device != "cuda":
        raise ConfigError(
            f"precision = 'bfloat16': needs device = cuda, but this machine has {device}"
        )
    return recognise(config), device


def prepare_centralized(config: ExperimentConfig) -> ExperimentConfig:
    """Resolve the config of a centralized experiment: one process on all cores.

    Raises:
        ConfigError, DataError: as `find_dataset_and_device`.
    """
    dataset, device = find_dataset_and_device(config)
    return resolve(
        config,
        dataset=dataset,
        device=device,
        threads_per_client=joblib.cpu_count(),  # respects affinity and a container's limits
    )
