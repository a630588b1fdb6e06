"""Estimates for a run: seconds from measured steps, bytes from the files of its run folder."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import numpy as np

from data_partition.datasets import find_dataset
from experiments.planning.features import feature_files
from experiments.planning.images import ClientImages, ImageCounts
from experiments.planning.step_times import StepTime
from fl_server.federated_config import concurrency, makespan
from models.registry import find_backbone
from models.text_encoders import find_text_encoder
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.config_faults import all_stays
from training.optimizers import state_tensors
from training.round_files import KEPT

# What is not steps takes these seconds on two cores of a machine on which a small simulation takes
# this long besides its rounds; on another machine all are in proportion to it.
SMALL_RUN = 6.6
# Until the first step and after the last one.
STARTING = {"simulate": 7.5, "clip": 6.0, "heads": 8.0}
# The same in a campaign, whose trials are forks of a process that has the libraries.
STARTING_IN_CAMPAIGN = {"simulate": 6.2, "clip": 2.0, "heads": 3.0}

# Of a federated round in addition to its steps, and of each client's message.
ROUND_SECONDS, MESSAGE_SECONDS = 0.045, 0.0025
# Of each gigabyte of weights that a client gets and returns; the same on every machine.
SECONDS_PER_GB = 3.5

# The last and the best model; a third one is written before one of them is deleted.
_MODELS_KEPT = 2

_NUM_CLASSES = 8  # of a data set whose images tell its classes: the most of a published one

_PREDICTION_BYTES = 150  # of one image's row


@dataclass(frozen=True)
class Workers:
    """Who computes in a run on one machine.

    Attributes:
        at_once: number of clients that work at the same time.
        parallel: how many of them have cores or a GPU for themselves.
        server: how many times as fast as a client the server computes.
    """

    at_once: int = 1
    parallel: float = 1.0
    server: float = 1.0

    def together(self, working: Sequence[float]) -> float:
        """Return the time that clients take together.

        Args:
            working: seconds of each, with cores for itself.
        """
        shared = sum(working) / self.parallel
        return max(shared, makespan(working, self.at_once)) if working else 0.0


def workers(
    command: str, config: ExperimentConfig, *, cores: int, gpus: int = 0, at_once: int = 0
) -> Workers:
    """Return the workers of a run.

    Args:
        config: resolved; ``threads-per-client`` is a client's.
        cores, gpus: the run's.
        at_once: clients that work at the same time; 0: as many as the cores allow.
    """
    if command != "simulate":
        return Workers()
    at_once = at_once or concurrency(config.asked_clients, cores)
    free = gpus if config.device == "cuda" else max(1.0, cores / config.threads_per_client)
    server = 1.0 if config.device == "cuda" else max(1.0, cores / config.threads_per_client)
    return Workers(at_once, max(1.0, min(at_once, free)), server)


@dataclass(frozen=True)
class Estimate:
    """The expected time and disk space of one run."""

    starting: float  # seconds, as all times; running alone, on its cores or its GPU
    features: float  # to compute features that are not kept yet
    a_round: float  # one federated round, or one epoch
    rounds: int
    judging: float  # the last model, and the best one; and the features for heads
    bytes: int  # of its run folder at the end
    passing: int  # additional bytes while it runs

    @property
    def seconds(self) -> float:
        """All of its time."""
        return self.starting + self.features + self.rounds * self.a_round + self.judging

    def times(self, factor: float) -> "Estimate":
        """Return the estimate for a machine that takes ``factor`` times as long."""
        parts = ("starting", "features", "a_round", "judging")
        return replace(self, **{name: factor * getattr(self, name) for name in parts})


def num_evaluations(command: str, config: ExperimentConfig) -> int:
    """Return how many models a run evaluates on the test set: its network, and each head."""
    return 1 + (len(config.heads.split(",")) if command == "heads" else 0)


def estimate(
    command: str,
    config: ExperimentConfig,
    times: StepTime,
    images: ImageCounts,
    at_work: Workers,
    *,
    starting: float | None = None,
    kept: Collection[Hashable] = (),
    with_clients: bool = True,
) -> Estimate:
    """Return the expected time and disk space of a run.

    Fitting heads is not counted: it is short compared with training the network.

    Args:
        config: resolved.
        starting: of ``STARTING`` or ``STARTING_IN_CAMPAIGN``; None: of a run by itself.
        kept: identities of the feature files that are there already.
        with_clients: whether a federation's clients keep their files on this disk.
    """
    federated = command == "simulate"
    if federated:
        a_round, judging = _federated_seconds(config, times, images, at_work)
    else:
        a_round, judging = _centralized_seconds(config, times, images)
    missing = [file for file in feature_files(command, config, images) if file.identity not in kept]
    computing = [file.views * times.features for file in missing if file.client is not None]
    of_test = sum(file.views * times.features for file in missing if file.client is None)
    model = trained_bytes(config)
    averaged = config.ema_decay > 0
    judged = 1 + averaged + num_evaluations(command, config)
    kept_bytes = (_MODELS_KEPT + averaged) * model + judged * images.test * _PREDICTION_BYTES
    passing = (1 + averaged) * model
    state = state_tensors(config.to_flat()) * model
    if not federated:
        # Including the one that is being written; all are removed at the end.
        passing += state * (min(config.epochs, KEPT) + 1)
    else:
        at_server = server_arrays(config) * model
        kept_bytes += at_server
        passing += at_server
        if with_clients:
            newest, best = client_arrays(config)
            kept_bytes += config.clients * (newest * min(config.rounds, KEPT) + best) * model
            passing += config.clients * newest * model
    if command == "heads":
        everything = images.training + images.test
        judging += everything * times.features
        # KNN and SVM also store training features.
        kept_bytes += 3 * round(everything) * find_backbone(config.backbone).width * 4
    return Estimate(
        starting=slowness(times) * (STARTING[command] if starting is None else starting),
        features=at_work.together(computing) + of_test / at_work.server,
        a_round=a_round,
        rounds=config.rounds if federated else config.epochs,
        judging=judging,
        bytes=kept_bytes,
        passing=passing,
    )


def server_arrays(config: ExperimentConfig) -> int:
    """Return how many arrays a method's server keeps for each array that is trained."""
    init = METHODS[config.strategy].server_init
    return 0 if init is None else len(init(np.zeros(1, np.float32), config.to_flat()))


def client_arrays(config: ExperimentConfig) -> tuple[int, int]:
    """Return how many arrays a client keeps of each round for each array that is trained, and how
    many of the best round beside them.

    A head or BatchNorm alone, which FedPer and FedBN keep, is not counted.
    """
    method = METHODS[config.strategy]
    own = int(method.own_half is not None or all_stays(method))
    optimizers = 0
    if config.client_optimizer == "persistent":
        optimizers = state_tensors(config.to_flat()) * (2 if method.own_half is not None else 1)
    residual = int(config.wire_format == "int8")  # its rounding errors
    return optimizers + residual + method.client_state + own, own


def slowness(times: StepTime) -> float:
    """Return how many times as long as stated here this machine takes for what is not steps."""
    return times.starting / SMALL_RUN


def trained_bytes(config: ExperimentConfig) -> int:
    """Return the bytes of the trained part of a network, which is sent and is in checkpoints.

    For a whole network the classifier is (almost) not counted.
    """
    if config.trainable == "all":
        return find_backbone(config.backbone).megabytes * 10**6
    if config.objective == "clip":
        outputs = find_text_encoder(config.text_encoder).width
    else:
        classes = find_dataset(config.dataset).classes
        outputs = _NUM_CLASSES if classes is None else len(classes)
    return _part_bytes(config.backbone, outputs, config.trainable)


@lru_cache
def _part_bytes(backbone: str, outputs: int, trainable: str) -> int:
    # Imported here: torch takes seconds, and the size of a whole network needs no torch.
    from models.sizes import part_size

    return part_size(backbone, outputs, trainable).num_bytes


def round_training(config: ExperimentConfig, times: StepTime, train: float) -> float:
    """Return the seconds that a client trains in a round on ``train`` images."""
    models = 1 + (METHODS[config.strategy].own_half is not None)
    return models * config.local_epochs * _training(config, times, train)


def _training(config: ExperimentConfig, times: StepTime, train: float) -> float:
    """Return the seconds of an epoch."""
    of_a_step = config.batch_size * config.accumulate_batches
    return train * times.training + ceil(train / of_a_step) * times.step


def num_judged(config: ExperimentConfig) -> int:
    """Return how many models are judged at the end: the last, the best, and the moving average."""
    return 2 + (config.ema_decay > 0)


def _centralized_seconds(
    config: ExperimentConfig, times: StepTime, images: ImageCounts
) -> tuple[float, float]:
    """Return the seconds of an epoch, and of the evaluation at the end."""
    (client,) = images.clients
    epoch = _training(config, times, client.train) + client.validation * times.judging
    return epoch, num_judged(config) * images.test * times.judging


def _federated_seconds(
    config: ExperimentConfig, times: StepTime, images: ImageCounts, at_work: Workers
) -> tuple[float, float]:
    """Return the seconds of a round, and of the evaluation at the end."""
    method = METHODS[config.strategy]
    gigabytes = trained_bytes(config) * (1 + len(method.carried)) / 1e9
    of_a_round = ROUND_SECONDS * slowness(times)
    message = MESSAGE_SECONDS * slowness(times) + SECONDS_PER_GB * gigabytes
    validating = [client.validation * times.judging for client in images.clients]
    if method.pooled:  # one client trains, then all validate
        together = sum(client.train for client in images.clients)
        working = [message + round_training(config, times, together)]
        a_round = at_work.together(working) + of_a_round
        a_round += at_work.together([message + seconds for seconds in validating])
    else:
        working = [
            message + round_training(config, times, client.train) + seconds
            for client, seconds in zip(images.clients, validating, strict=True)
        ]
        if config.samples_clients:  # of which a round has some: as many of average size
            working = [sum(working) / len(working)] * config.asked_clients
        a_round = at_work.together(working)
    one_model = method.local is None  # which is judged beside the clients' own, if they have any
    tests = 1 + (method.has_own_models and one_model)
    tuning = method.tuning_epochs(config.to_flat()) if method.tuning_epochs is not None else 0

    def judged(client: ClientImages) -> float:
        looked_at = client.validation + tests * client.test
        return message + looked_at * times.judging + tuning * _training(config, times, client.train)

    tested = one_model * (images.test + images.left_out) * times.judging / at_work.server
    a_model = at_work.together([judged(client) for client in images.clients]) + tested
    return a_round + of_a_round, num_judged(config) * (of_a_round + a_model)
