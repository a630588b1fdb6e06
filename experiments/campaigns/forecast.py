"""The expected time and disk space of a whole campaign on this machine."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import joblib
import psutil

from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.estimate import (
    STARTING,
    Estimate,
    ImageCounts,
    count_images,
    estimate,
    num_views,
    store_bytes,
    studied,
)
from experiments.campaigns.step_times import measure_steps, setting
from experiments.campaigns.trial import Trial
from models.registry import find_backbone
from training.config import ExperimentConfig
from training.device import processor_name, resolve_device
from training.head_settings import HEAD_KEYS
from training.release import cache_dir, recognise_dataset
from training.study import resolve


@dataclass(frozen=True)
class Forecast:
    """The expected time and disk space of a campaign."""

    trials: tuple[tuple[Trial, Estimate], ...]  # with their estimates, in the campaign's order
    seconds: float  # with as many trials side by side as cores, GPUs and memory allow
    cached_bytes: int  # of decoded images and of features in the cache, which the trials share
    machine: str  # what was measured on, in words
    # Data sets whose images were not counted; they are taken to be the study's (docs/study.md).
    assumed: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all run folders at the end."""
        return sum(each.bytes for _, each in self.trials)

    @property
    def passing(self) -> int:
        """Additional bytes of the largest trial while it runs."""
        return max(each.passing for _, each in self.trials)


def forecast(
    campaign: Campaign, progress: Callable[[int, int], None] = lambda done, total: None
) -> Forecast:
    """Measure what this machine has not measured yet, and estimate every trial.

    Args:
        campaign: its trials need neither data folders nor weights.

    Raises:
        ConfigError, DataError: a data folder cannot be used, or the device is not available.
    """
    machine = _Machine(campaign)
    configs = [_resolved(trial, machine.cpus) for trial in campaign.trials]
    counted: dict[Hashable, ImageCounts] = {}
    for config in configs:  # before measuring, which takes minutes
        if _data_key(config) not in counted:
            counted[_data_key(config)] = count_images(config)
    times = measure_steps(configs, cache_dir(configs[0]), progress)
    stores: dict[Hashable, int] = {}
    trained: set[Hashable] = set()
    trials = []
    for trial, config in zip(campaign.trials, configs, strict=True):
        data = _data_key(config)
        images = data, config.image_size
        stores[images] = store_bytes(config.image_size, counted[data])
        step_time = times[setting(config)]
        each = estimate(trial.command, config, step_time, counted[data])
        if config.on_features:
            views = num_views(trial.command, config, counted[data])
            features = _features_key(trial.command, config)
            if features in stores:  # only one of the trials that share them computes them
                each = replace(each, seconds=each.seconds - views * step_time.judging)
            stores[features] = views * find_backbone(config.backbone).width * 4
        if trial.command == "heads":
            identity = config.identity()
            network = tuple(value for key, value in identity.items() if key not in HEAD_KEYS)
            if network in trained:  # only one of the trials that share it trains it
                each = replace(each, seconds=STARTING["heads"])
            trained.add(network)
        trials.append((trial, each))
    devices = sorted({config.device for config in configs})
    return Forecast(
        trials=tuple(trials),
        seconds=machine.seconds(trials),
        cached_bytes=sum(stores.values()),
        machine=f"{processor_name()}; cores per trial: {machine.cpus}; {', '.join(devices)}",
        assumed=tuple(sorted({c.dataset for c in configs if not counted[_data_key(c)].counted})),
    )


class _Machine:
    """This machine, divided as by the scheduler; see `scheduler.Cluster.share`."""

    def __init__(self, campaign: Campaign) -> None:
        self._cores = joblib.cpu_count()
        self._memory = psutil.virtual_memory().available
        self._gpus = 0
        if resolve_device("auto") == "cuda":
            import torch

            self._gpus = torch.cuda.device_count()
        # Trials that share a GPU share its time, so together they take as long as one by one.
        self._gpus_per_trial = max(1.0, campaign.gpus_per_trial)
        part = (campaign.gpus_per_trial or 1.0) / self._gpus if self._gpus else 0.0
        self.cpus = campaign.cpus_per_trial or max(1, int(self._cores * part))

    def seconds(self, trials: Sequence[tuple[Trial, Estimate]]) -> float:
        """Return how long the trials take, run side by side."""
        longest = max(each.seconds for _, each in trials)
        return max(longest, sum(self._share(trial) * each.seconds for trial, each in trials))

    def _share(self, trial: Trial) -> float:
        # Imported here: it imports Ray, which the rest of the program does not need.
        from experiments.campaigns.jobs import memory_needed

        shares = [self.cpus / self._cores, memory_needed(trial, self.cpus) / self._memory]
        if self._gpus:
            shares.append(self._gpus_per_trial / self._gpus)
        return min(1.0, max(shares))


def _resolved(trial: Trial, cpus: int) -> ExperimentConfig:
    config = trial.config
    dataset = recognise_dataset(config).name if config.data_dir else studied(config.dataset)
    resolved = resolve(
        config, dataset=dataset, device=resolve_device(config.device), threads_per_client=cpus
    )
    # A simulation's clients together use all cores, whatever the threads of each.
    return resolved.replace(threads_per_client=cpus) if trial.command == "simulate" else resolved


def _data_key(config: ExperimentConfig) -> Hashable:
    keys = ("dataset", "data-dir", "test-dir", "seed")
    slices = ("modalities", "slices-per-patient", "slice-choice")
    return tuple(config.to_flat()[key] for key in (*keys, *slices))


def _features_key(command: str, config: ExperimentConfig) -> Hashable:
    """Return what cached features depend on, except what is equal in all trials of a campaign."""
    keys = ["backbone", "pretrained", "image-size", "batch-size", "precision", "augmented-views"]
    if command == "simulate":
        keys += ["clients", "partition", "dirichlet-alpha"]
    flat = config.to_flat()
    return command == "simulate", _data_key(config), *(flat[key] for key in (*keys, "split-by"))
