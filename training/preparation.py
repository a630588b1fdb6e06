"""What is checked and fetched before a run decodes images: config, device, data tables, weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib

from data_partition.image_table import ImageTable
from data_partition.splits import split_patients
from models.errors import BackboneError
from models.registry import find_backbone, known, locate_pretrained
from training.clip_text import prepare_text
from training.config import PATH_KEYS, ExperimentConfig
from training.config_faults import no_lora
from training.device import resolve_device
from training.division import cut, deal
from training.errors import ConfigError
from training.reference import reference_table
from training.release import recognise_dataset, test_table, training_table
from training.run_folder import RunFolder
from training.study import resolve
from training.warm_start import check_source


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
        raise ConfigError(
            f"backbone = {config.backbone!r}, image-size = {config.image_size}: {error}"
        ) from None


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
    if config.alignment != "none":
        raise ConfigError(
            f"alignment = {config.alignment!r}: allowed in federations only, since it brings "
            "clients together"
        )
    dataset, device = find_dataset_and_device(config)
    return resolve(
        config,
        dataset=dataset,
        device=device,
        threads_per_client=joblib.cpu_count(),  # respects affinity and a container's limits
    )


@dataclass(frozen=True)
class DataOutline:
    """Facts about an experiment's data from its tables and file names."""

    classes: tuple[str, ...]  # class names in the order of the network's outputs
    notices: tuple[str, ...]  # see `data_partition.image_table.ImageTable`
    table: ImageTable  # of the training release


def outline_data(
    config: ExperimentConfig, *, federated: bool, needs_test: bool = False
) -> DataOutline:
    """Check an experiment's data as far as possible without decoding, which may take an hour.

    Errors are found in labels, lesions, sources, sites, the number of images for the clients, and
    the test set. Only the shares of ``partition = dirichlet`` are checked later, when the usable
    images are known.

    Args:
        config: resolved, or with ``dataset = "auto"``.
        federated: whether the images are partitioned among clients.
        needs_test: whether the experiment needs a test set.

    Raises:
        ConfigError: no data folder is set, a test folder is set for a data set that has its own
            test patients, or a needed test set is missing.
        DataError: a folder is unusable, or does not fit the config.
    """
    reference_table(config)
    table = training_table(config)
    if table.sliced:
        notices = table.notices
        has_test = "test" in split_patients(table.rows, seed=config.seed)
    else:
        test = test_table(config)
        notices = (*table.notices, *(test.notices if test else ()))
        has_test = test is not None
    if needs_test and not has_test:
        raise ConfigError(
            f"{config.data_dir}: heads are evaluated on a test set, and there is none; set test-dir"
        )
    if not federated:
        cut(config, table)
    elif config.partition != "dirichlet":
        deal(config, table)
    return DataOutline(table.classes, notices, table)


def prefetch(config: ExperimentConfig, folder: RunFolder, classes: Sequence[str] | None) -> None:
    """Find, download or compute what a run starts from, so that errors come before the start.

    These are the text features, the pretrained weights, and the run of ``init-from``. A resumed
    run has its own, except its base, which is built again.

    Args:
        classes: None if they are not known yet: then there are no text features.

    Raises:
        RunFolderError: the run of ``init-from`` cannot be the start of this one.
        WeightsError: weights are missing or unusable.
    """
    if not folder.checkpoint.progress().round:
        check_source(config)
    if classes is not None and not folder.text_path.is_file():
        prepare_text(config, classes)
    if config.trainable != "all" or not folder.checkpoint.progress().round:
        prefetch_weights(config)


def prefetch_base(config: ExperimentConfig) -> None:
    """Find or download the weights of a network's base, if it has one.

    Raises:
        WeightsError: they are missing or unusable.
    """
    if config.trainable != "all":
        prefetch_weights(config)


def prefetch_weights(config: ExperimentConfig) -> None:
    """Find or download a backbone's pretrained weights, if the config wants them.

    Raises:
        WeightsError: they are missing or unusable.
    """
    if not config.pretrained:
        return
    locate_pretrained(config.backbone, Path(config.weights_dir) if config.weights_dir else None)
