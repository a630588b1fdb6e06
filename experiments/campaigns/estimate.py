"""Estimates for a trial: seconds from measured steps, bytes from the files of its run folder."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from data_partition.datasets import find_dataset, own_datasets
from data_partition.image_store import store_side
from data_partition.splits import split_patients
from experiments.campaigns.step_times import StepTime
from models.registry import find_backbone
from models.text_encoders import find_text_encoder
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.optimizers import state_tensors
from training.release import dataset_of, reading, test_table, training_table
from training.round_files import KEPT

# Seconds until the first step and after the last one, on two cores.
STARTING = {"simulate": 25.0, "clip": 8.0, "heads": 8.0}

# Seconds of a federated round in addition to its clients' computing (messages, the mean, waiting),
# for three clients: per round, and per gigabyte sent.
ROUND_SECONDS, ROUND_SECONDS_PER_GB = 0.5, 10.0

# Shares of a client's images; see data_partition/splits.py.
_CLIENT_SHARES = (0.6, 0.2, 0.2)

# The last and the best model; a third one is written before one of them is deleted.
_MODELS_KEPT = 2

_PREDICTION_BYTES = 150  # of one image's row

_NUM_CLASSES = 7  # the most of a published data set; a head for two is a little smaller


@dataclass(frozen=True)
class ImageCounts:
    """The number of images of a data set."""

    training: int  # of the training set; of slices those of all except the test patients
    test: int
    # Whether they were counted in the data folder; otherwise they are those of the study
    # (docs/study.md).
    counted: bool


@dataclass(frozen=True)
class Estimate:
    """The expected time and disk space of one trial."""

    seconds: float  # running alone, on its cores or its GPU
    bytes: int  # of its run folder at the end
    passing: int  # additional bytes while it runs


def count_images(config: ExperimentConfig) -> ImageCounts:
    """Count the images in a config's data folder by its tables; without a folder, the study's.

    Nothing is decoded, so damaged images are counted too.

    Raises:
        ConfigError: no folder is set, and the study does not have the data set.
        ConfigError, DataError: the folder cannot be used.
    """
    if not config.data_dir:
        study = find_dataset(studied(config.dataset)).study
        if study.images is None:
            raise ConfigError(
                f"dataset = {config.dataset}: the study has no such images, so their number is "
                f"unknown; give their folder with --data {config.dataset}=DIR"
            )
        return ImageCounts(*study.images(reading(config)), counted=False)
    table = training_table(config)
    rows = table.rows
    if table.sliced:
        num_test = int((split_patients(rows, seed=config.seed) == "test").sum())
        return ImageCounts(len(rows) - num_test, num_test, counted=True)
    test = test_table(config)
    return ImageCounts(len(rows), 0 if test is None else len(test.rows), counted=True)


def studied(dataset: str) -> str:
    """Return a data set's name; for ``auto`` without a data folder the study's first."""
    return own_datasets()[0].name if dataset == "auto" else dataset


def store_bytes(image_size: int, images: ImageCounts) -> int:
    """Return the bytes of a data set's decoded images, shared by all trials of that image size."""
    return 3 * store_side(image_size) ** 2 * (images.training + images.test)


def num_evaluations(command: str, config: ExperimentConfig) -> int:
    """Return how many models a trial evaluates on the test set: its network, and each head."""
    return 1 + (len(config.heads.split(",")) if command == "heads" else 0)


def estimate(
    command: str, config: ExperimentConfig, times: StepTime, images: ImageCounts
) -> Estimate:
    """Return the expected time and disk space of a trial.

    It assumes that the clients of a round run one after the other, each on all of the trial's
    cores. Fitting heads is not counted: it is short compared with training the network.

    Args:
        config: resolved.
    """
    rounds = _federated_seconds if command == "simulate" else _centralized_seconds
    seconds = STARTING[command] + rounds(config, times, images)
    seconds += num_views(command, config, images) * times.judging
    model = trained_bytes(config)
    predictions = (1 + num_evaluations(command, config)) * images.test * _PREDICTION_BYTES
    kept, passing = _MODELS_KEPT * model + predictions, model
    state = state_tensors(config.to_flat()) * model
    if command != "simulate":
        # Including the one that is being written; all are removed at the end.
        passing += state * (min(config.epochs, KEPT) + 1)
    elif config.client_optimizer == "persistent":
        kept += config.clients * state * min(config.rounds, KEPT)
        passing += config.clients * state
    if command == "simulate" and config.wire_format == "int8":
        kept += config.clients * model * min(config.rounds, KEPT)  # the rounding errors of int8
        passing += config.clients * model
    if command == "heads":
        features = (images.training + images.test) * find_backbone(config.backbone).width * 4
        seconds += (images.training + images.test) * times.judging
        # KNN and SVM also store training features.
        kept += 3 * features
    return Estimate(seconds, kept, passing)


def trained_bytes(config: ExperimentConfig) -> int:
    """Return the bytes of the trained part of a network, which is sent and is in checkpoints.

    For a whole network the classifier is (almost) not counted.
    """
    if config.trainable == "all":
        return find_backbone(config.backbone).megabytes * 10**6
    outputs = _NUM_CLASSES
    if config.objective == "clip":
        outputs = find_text_encoder(config.text_encoder).width
    return _part_bytes(config.backbone, outputs, config.trainable)


def num_views(command: str, config: ExperimentConfig, images: ImageCounts) -> int:
    """Return how many views of images have cached features; 0 if training runs on images."""
    if not config.on_features:
        return 0
    if command == "simulate":
        train, others = _CLIENT_SHARES[0], sum(_CLIENT_SHARES[1:])
    else:
        train, others = dataset_of(config).study.central_shares
    return round(images.training * (train * (1 + config.augmented_views) + others))


@lru_cache
def _part_bytes(backbone: str, outputs: int, trainable: str) -> int:
    # Imported here: torch takes seconds, and the size of a whole network needs no torch.
    from models.sizes import part_size

    return part_size(backbone, outputs, trainable).num_bytes


def _judging(config: ExperimentConfig, times: StepTime) -> float:
    """Seconds to evaluate a client's image; on features, at most as long as training on them."""
    return times.training if config.on_features else times.judging


def _step_images(config: ExperimentConfig) -> int:
    return config.batch_size * config.accumulate_batches


def _centralized_seconds(config: ExperimentConfig, times: StepTime, images: ImageCounts) -> float:
    shares = dataset_of(config).study.central_shares
    train, validation = (share * images.training for share in shares)
    epoch = (
        train * times.training
        + ceil(train / _step_images(config)) * times.step
        + validation * _judging(config, times)
    )
    return config.epochs * epoch + 2 * images.test * times.judging  # the last model, and the best


def _federated_seconds(config: ExperimentConfig, times: StepTime, images: ImageCounts) -> float:
    train, validation, test = (share * images.training for share in _CLIENT_SHARES)
    # Clients of equal size are assumed, of which a round may have a sample.
    train, validation = (
        part * config.asked_clients / config.clients for part in (train, validation)
    )
    steps = config.asked_clients * ceil(train / config.asked_clients / _step_images(config))
    a_round = (
        config.local_epochs * (train * times.training + steps * times.step)
        + validation * _judging(config, times)
        + ROUND_SECONDS
        + ROUND_SECONDS_PER_GB * trained_bytes(config) / 1e9
    )
    judged = test * _judging(config, times) + images.test * times.judging
    return config.rounds * a_round + 2 * judged
