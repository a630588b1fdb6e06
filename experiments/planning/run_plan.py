"""What one run will need and how long it will take; nothing is trained and no folder is made."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import joblib

from data_partition.image_store import store_side
from data_partition.splits import SPLITS
from data_partition.synthetic_folder import is_synthetic
from experiments.planning.estimate import Estimate, Workers, estimate, workers
from experiments.planning.features import FeatureFile, feature_bytes, feature_files
from experiments.planning.images import Division, divide, store_bytes
from experiments.planning.missing import text_missing, weights_missing
from experiments.planning.run_memory import server_bytes
from experiments.planning.step_times import StepTime, measure_steps, setting
from experiments.planning.traffic import Traffic, traffic
from fl_server.federated_config import Resources, prepare_simulated
from models.errors import WeightsError
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.declared_keys import without_effect
from training.experiment_data import (
    open_central_data,
    open_federated_data,
    open_left_out,
    open_test_data,
)
from training.memory import training_bytes
from training.preparation import outline_data, prepare_centralized
from training.release import cache_dir, read_as
from training.split import Split
from training.warm_start import check_source

# So many images are decoded to see how long it takes.
_SAMPLE = 64


@dataclass(frozen=True)
class Memory:
    """Bytes of a run's processes."""

    client: int  # libraries, and the copies of the network and of what the method keeps
    activations: int  # of a batch, measured
    clients: int  # number of processes that train at the same time
    server: int  # the server, Flower and Ray; 0 of a centralized run

    @property
    def total(self) -> int:
        """Bytes of all processes together."""
        return self.clients * (self.client + self.activations) + self.server


@dataclass(frozen=True)
class RunPlan:
    """What one run will need.

    Attributes:
        wanted, config: as the user wrote it, and resolved.
        decoding: seconds to decode the images that are in no store yet.
        store_bytes, feature_bytes: to be added to the cache.
        traffic: None of a centralized run.
        asked: clients that train in a round.
        to_download: a line for each file that the run will fetch.
    """

    command: str
    wanted: ExperimentConfig
    config: ExperimentConfig
    division: Division
    notices: tuple[str, ...]
    synthetic: bool
    at_work: Workers
    memory: Memory
    decoding: float
    store_bytes: int
    feature_bytes: int
    traffic: Traffic | None
    asked: int
    times: StepTime
    estimate: Estimate
    to_download: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """All of the run's time."""
        return self.decoding + self.estimate.seconds


def plan_run(
    command: str,
    wanted: ExperimentConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RunPlan:
    """Plan a run of ``simulate``, ``clip`` or ``heads`` on this machine.

    Args:
        wanted: as the user wrote it, with absolute paths.
        progress: of the measurement, see `measure_steps`.

    Raises:
        ConfigError, DataError, RunFolderError, WeightsError: as the run itself would.
        TrainingError: a step cannot be run here.
    """
    resources = Resources(1, 1, 0.0)
    if command == "simulate":
        config, resources = prepare_simulated(wanted)
    else:
        config = prepare_centralized(wanted)
    federated = command == "simulate"
    outline = outline_data(config, federated=federated, needs_test=command == "heads")
    check_source(config)
    to_download = lacking(config)
    division = divide(command, config)
    decoding = _decoding_seconds(config, division)
    if not division.to_decode:  # the test images are compared with those in training, as in a run
        open_test_data(config)
    files = list(feature_files(command, config, division.counts))
    kept: set[Hashable] = set()
    if config.on_features and not (division.to_decode or to_download):
        kept = _kept_features(command, config, division, files)
    times = measure_steps([config], cache_dir(config), progress)[setting(config)]
    at_work = workers(
        *(command, config),
        cores=joblib.cpu_count(),
        gpus=resources.gpus,
        at_once=resources.concurrency,
    )
    return RunPlan(
        command=command,
        wanted=wanted,
        config=config,
        division=division,
        notices=(*without_effect(config.to_flat()), *outline.notices),
        synthetic=is_synthetic(config.data_dir, config.test_dir),
        at_work=at_work,
        memory=Memory(
            training_bytes(config),
            0 if config.device == "cuda" else times.activations,
            resources.concurrency,
            server_bytes(config, joblib.cpu_count()) if federated else 0,
        ),
        decoding=decoding,
        store_bytes=store_bytes(
            config.image_size, sum(len(table.rows) for table in division.to_decode)
        ),
        feature_bytes=feature_bytes(config, sum(f.views for f in files if f.identity not in kept)),
        traffic=traffic(config, len(outline.classes)) if federated else None,
        asked=config.asked_clients,
        times=times,
        estimate=estimate(command, config, times, division.counts, at_work, kept=kept),
        to_download=to_download,
    )


def lacking(config: ExperimentConfig) -> tuple[str, ...]:
    """Return what a run will download; nothing is downloaded here.

    Raises:
        WeightsError: a folder of weights does not have what it should.
    """
    if not config.pretrained:
        return ()
    found = weights_missing(config)
    if config.objective == "clip":
        found |= text_missing(config)
    if found and config.weights_dir:
        raise WeightsError("\n".join(found))
    return tuple(found)


def _decoding_seconds(config: ExperimentConfig, division: Division) -> float:
    """Decode some images of each table that is in no store, and return the time of all."""
    seconds = 0.0
    for table in division.to_decode:
        some = table.rows.iloc[:_SAMPLE]
        started = time.perf_counter()
        for _ in read_as(config, table).reader.decode(some, store_side(config.image_size)):
            pass
        seconds += (time.perf_counter() - started) / len(some) * len(table.rows)
    return seconds


def _kept_features(
    command: str, config: ExperimentConfig, division: Division, files: Sequence[FeatureFile]
) -> set[Hashable]:
    """Return the identities of those of the run's features that are in the cache."""
    # Imported here: torch takes seconds.
    from training.feature_splits import features_path
    from training.network import base_sha256
    from training.task import build_base

    base = base_sha256(build_base(config))

    def is_there(
        config: ExperimentConfig, splits: Mapping[str, Split], fingerprint: str, place: int = 0
    ) -> bool:
        path = features_path(config, splits, fingerprint=fingerprint, client_index=place, base=base)
        return path.is_file()

    found: set[Hashable] = set()
    *of_clients, of_test = files
    if command == "simulate":
        shared = open_federated_data(config)
        names = [str(name) for name in division.table.index.unique("client")]
        for name, file in zip(names, of_clients, strict=True):
            splits = {split: shared.split(name, split) for split in SPLITS}
            if METHODS[config.strategy].pooled and file is of_clients[0]:
                splits["train"] = shared.of_all("train")
            if is_there(config, splits, shared.store.fingerprint, sorted(names).index(name)):
                found.add(file.identity)
        tests = [open_test_data(config, store=shared.store), open_left_out(config, shared)]
    else:
        central = open_central_data(config)
        splits = {split: central.split(split) for split in ("train", "validation")}
        if is_there(config, splits, central.store.fingerprint):
            found.add(of_clients[0].identity)
        tests = [open_test_data(config, store=central.store)]
    once = config.replace(augmented_views=0)
    given = [test for test in tests if test is not None]
    if all(is_there(once, {"test": test.split}, test.fingerprint) for test in given):
        found.add(of_test.identity)
    return found
