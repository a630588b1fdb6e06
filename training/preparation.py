"""Resolves a config for this machine: data set, device and threads."""

from pathlib import Path

import joblib

from models.errors import BackboneError
from models.registry import find_backbone, known
from training.config import ExperimentConfig, no_lora
from training.device import resolve_device
from training.errors import ConfigError
from training.experiment_data import recognise_dataset
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


def check_backbone(config: ExperimentConfig) -> None:
    """Check what only the backbone's library knows; a config's check does not import torch.

    Raises:
        ConfigError: the library has no such model, or it does not take the config's images, or
            cannot be trained as asked.
    """
    if known(config.backbone) is not None:
        return  # the config's check knew it all
    from models.backbones import check_images

    try:
        spec = find_backbone(config.backbone)
    except BackboneError as error:
        raise ConfigError(f"backbone = {config.backbone!r}: {error}") from None
    if config.trainable == "lora" and not spec.has_linear_layers:
        raise ConfigError(no_lora(config.backbone))
    try:
        check_images(config.backbone, config.image_size)
    except BackboneError as error:
        raise ConfigError(f"image-size = {config.image_size}: {error}") from None


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
    check_backbone(config)
    device = resolve_device(config.device)
    if config.precision == "bfloat16" and device != "cuda":
        raise ConfigError(
            f"precision = 'bfloat16': needs device = cuda, but this machine has {device}"
        )
    return recognise_dataset(config).name, device


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
