"""The expected time and disk space of a whole campaign on this machine."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import joblib

from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.preflight import CUT_KEYS
from experiments.campaigns.trial import Trial
from experiments.planning.estimate import (
    STARTING_IN_CAMPAIGN,
    Estimate,
    estimate,
    slowness,
    workers,
)
from experiments.planning.features import feature_bytes, feature_files
from experiments.planning.images import ImageCounts, count_images, store_bytes, studied
from experiments.planning.run_memory import memory_needed
from experiments.planning.step_times import Setting, measure_steps, setting
from fl_server.federated_config import concurrency
from operation.machine_memory import machine_memory
from training.config import DEFAULTS, NOT_IDENTITY, ExperimentConfig
from training.device import processor_name, resolve_device
from training.head_settings import HEAD_KEYS
from training.release import cache_dir, recognise_dataset
from training.run_state import RunState
from training.study import resolve

# Seconds until the first trial begins, where `estimate.slowness` is 1: Ray, and the libraries that
# the trials share.
BEGINNING = 8.0


@dataclass(frozen=True)
class Forecast:
    """The expected time and disk space of a campaign."""

    trials: tuple[tuple[Trial, Estimate], ...]  # with their estimates, in the campaign's order
    seconds: float  # with as many trials side by side as cores, GPUs and memory allow
    cached_bytes: int  # of decoded images and of features in the cache, which the trials share
    machine: str  # what was measured on, in words
    # Data sets whose images were not counted; they are taken to be the study's (docs/study.md).
    assumed: tuple[str, ...]
    # How many times as long as estimated the finished trials took, by their kind in words; the
    # estimates of other trials of the kind are multiplied by it.
    corrected: Mapping[str, float] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Bytes of all run folders at the end."""
        return sum(each.bytes for _, each in self.trials)

    @property
    def passing(self) -> int:
        """Additional bytes of the largest trial while it runs."""
        return max(each.passing for _, each in self.trials)


def forecast(
    campaign: Campaign,
    progress: Callable[[int, int], None] = lambda done, total: None,
    took: Mapping[int, float] | None = None,
) -> Forecast:
    """Measure what this machine has not measured yet, and estimate every trial.

    Args:
        campaign: its trials need neither data folders nor weights.
        took: seconds of finished trials, by their place in the campaign. Those are not in the
            forecast, and of the same kind other trials' estimates follow them.

    Raises:
        ConfigError, DataError: a data folder cannot be used, or the device is not available.
        TrainingError: a step cannot be run here.
    """
    took = took or {}
    machine = _Machine(campaign)
    configs = [_resolved(trial, machine.cpus) for trial in campaign.trials]
    counted: dict[Hashable, ImageCounts] = {}
    pairs = list(zip(campaign.trials, configs, strict=True))
    for trial, config in pairs:  # before measuring, which takes minutes
        if _data_key(trial, config) not in counted:
            counted[_data_key(trial, config)] = count_images(trial.command, config)
    times = measure_steps(configs, cache_dir(configs[0]), progress)
    stores: dict[Hashable, int] = {}
    features: dict[Hashable, int] = {}
    trained: set[Hashable] = set()
    found: list[_Expected] = []
    for trial, config in pairs:
        images = counted[_data_key(trial, config)]
        store = config.dataset, config.data_dir, config.test_dir, config.image_size, config.input
        stores[store] = store_bytes(config.image_size, images.stored)
        each = estimate(
            *(trial.command, config, times[setting(config)], images),
            workers(trial.command, config, cores=machine.cpus, gpus=machine.gpus_of_trial),
            starting=STARTING_IN_CAMPAIGN[trial.command],
            kept=features,
        )
        files = {
            file.identity: feature_bytes(config, file.views)
            for file in feature_files(trial.command, config, images)
        }
        features.update(files)
        if trial.command == "heads":
            identity = config.identity()
            network = tuple(value for key, value in identity.items() if key not in HEAD_KEYS)
            if network in trained:  # only one of the trials that share it trains it
                each = replace(each, features=0.0, rounds=0, judging=0.0)
            trained.add(network)
        kind = trial.command, setting(config)
        found.append(
            _Expected(trial, each, kind, frozenset(files), machine.share(trial.command, config))
        )
    factors = _factors(found, took)
    left = [
        replace(one, estimate=one.estimate.times(factors.get(one.kind, 1.0)))
        for place, one in enumerate(found)
        if place not in took
    ]
    devices = sorted({config.device for config in configs})
    return Forecast(
        trials=tuple((one.trial, one.estimate) for one in left),
        seconds=_side_by_side(left, BEGINNING * max(map(slowness, times.values()))),
        cached_bytes=sum(stores.values()) + sum(features.values()),
        machine=f"{processor_name()}; cores per trial: {machine.cpus}; {', '.join(devices)}",
        assumed=tuple(
            sorted({c.dataset for t, c in pairs if not counted[_data_key(t, c)].counted})
        ),
        corrected={
            f"{command} {kind.backbone}, {kind.trainable}, {kind.image_size} pixels": factor
            for (command, kind), factor in factors.items()
        },
    )


def seconds_taken(campaign: Campaign, folder: CampaignFolder) -> dict[int, float]:
    """Return the seconds of the finished trials in a campaign's folder, by place in the campaign.

    Raises:
        RunFolderError: it is no campaign's folder, or damaged.
    """
    _, planned = folder.plan()
    states = folder.states(planned, at_work=False)
    known = {
        _identity(trial.command, trial.config): float(states[trial.id].attempt["seconds"])
        for trial in planned
        if states[trial.id].state == RunState.COMPLETED and "seconds" in states[trial.id].attempt
    }
    identities = [_identity(trial.command, trial.config.to_flat()) for trial in campaign.trials]
    return {place: known[each] for place, each in enumerate(identities) if each in known}


@dataclass(frozen=True)
class _Expected:
    """A trial as it is expected: what it is, and its part of the machine."""

    trial: Trial
    estimate: Estimate
    kind: tuple[str, Setting]
    features: frozenset[Hashable]  # the files of features that it reads
    share: float


def _identity(command: str, flat: Mapping[str, object]) -> Hashable:
    known = {**DEFAULTS, **flat}  # a folder may be older than some keys
    return command, tuple(sorted((k, v) for k, v in known.items() if k not in NOT_IDENTITY))


def _factors(
    found: Sequence[_Expected], took: Mapping[int, float]
) -> dict[tuple[str, Setting], float]:
    """Return by kind how many times as long as estimated finished trials took altogether."""
    actual: defaultdict[tuple[str, Setting], float] = defaultdict(float)
    expected: defaultdict[tuple[str, Setting], float] = defaultdict(float)
    for place, seconds in took.items():
        actual[found[place].kind] += seconds
        expected[found[place].kind] += found[place].estimate.seconds
    return {kind: actual[kind] / expected[kind] for kind in actual}


def _side_by_side(trials: Sequence[_Expected], beginning: float) -> float:
    """Return how long trials take that start in order, each as soon as its share is free.

    The first one starts after ``beginning`` seconds.

    Trials that need the same features wait until the first of them has computed them.
    """
    running: list[tuple[float, int, float]] = []  # end, place, share
    ready: dict[Hashable, float] = {}
    now, used, last = beginning, 0.0, beginning
    for place, one in enumerate(trials):
        while running and used + one.share > 1 + 1e-9:
            now, _, freed = heapq.heappop(running)
            used -= freed
        begun = now + one.estimate.starting
        awaited = max((ready[key] for key in one.features if key in ready), default=begun)
        computed = max(begun, awaited) + one.estimate.features
        for key in one.features:
            ready.setdefault(key, computed)
        spent = one.estimate.starting + one.estimate.features
        end = computed + one.estimate.seconds - spent
        heapq.heappush(running, (end, place, one.share))
        used, last = used + one.share, max(last, end)
    return last if trials else 0.0


class _Machine:
    """This machine, divided as by the scheduler; see `scheduler.Cluster.share`."""

    def __init__(self, campaign: Campaign) -> None:
        self._cores = joblib.cpu_count()
        self._memory = machine_memory().free
        self._gpus = 0
        if resolve_device("auto") == "cuda":
            import torch

            self._gpus = torch.cuda.device_count()
        # Trials that share a GPU share its time, so together they take as long as one by one.
        self._gpus_per_trial = max(1.0, campaign.gpus_per_trial)
        self.gpus_of_trial = int(self._gpus_per_trial)
        part = (campaign.gpus_per_trial or 1.0) / self._gpus if self._gpus else 0.0
        self.cpus = campaign.cpus_per_trial or max(1, int(self._cores * part))

    def share(self, command: str, config: ExperimentConfig) -> float:
        """Return the part of the machine that a trial takes."""
        memory = memory_needed(command, config, self.cpus)
        shares = [self.cpus / self._cores, memory / self._memory]
        if self._gpus:
            shares.append(self._gpus_per_trial / self._gpus)
        return min(1.0, max(shares))


def _resolved(trial: Trial, cpus: int) -> ExperimentConfig:
    config = trial.config
    dataset = recognise_dataset(config).name if config.data_dir else studied(config.dataset)
    at_once = concurrency(config.asked_clients, cpus) if trial.command == "simulate" else 1
    return resolve(
        config,
        dataset=dataset,
        device=resolve_device(config.device),
        threads_per_client=max(1, cpus // at_once),
    )


def _data_key(trial: Trial, config: ExperimentConfig) -> Hashable:
    flat = config.to_flat()
    return trial.command == "simulate", *(flat[key] for key in CUT_KEYS)
