"""Trials that share a GPU: as many as fit, by the memory that the first of their kind needed."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace

from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.job import Job
from experiments.campaigns.trial import Trial
from experiments.planning.step_times import setting
from fl_server.federated_config import RAY_PARTS
from strategies.methods import METHODS
from training.errors import RunFolderError
from training.gpu_memory import GpuMemory
from training.optimizers import state_tensors

# How much more memory a trial is taken to need than the first of its kind used: how PyTorch divides
# it into pieces is not the same in every run.
MARGIN = 1.2


def kind_of(trial: Trial) -> Hashable | None:
    """Return what is equal for trials that need the same memory of a GPU; None: a whole GPU.

    Trials on kept features have a whole one: the first of them may have found the features in the
    cache, and the next may have to compute them.
    """
    config = trial.config
    if config.on_features:
        return None
    # A trial's config is as its file has it, so the optimizer may be ``auto``.
    resolved = {**config.to_flat(), "optimizer": config.chosen_optimizer}
    return (
        # The data set also decides what batch-size = auto is.
        *(trial.command, config.dataset, setting(config)),
        *(config.strategy, config.chosen_optimizer, state_tensors(resolved)),
        # Without its term a method may hold no copy of the weights.
        *(bool(config.to_flat()[key]) for key in METHODS[config.strategy].keys),
        config.asked_clients,
    )


def fitting(memory: GpuMemory, most: int) -> int:
    """Return how many trials share a GPU.

    Args:
        memory: what one of them used, and all that the GPU has.
        most: the answer's bound, ≥ 1.
    """
    return max(1, min(int(memory.total / (MARGIN * memory.used)), most))


class GpuSharing:
    """Gives trials their part of a GPU; until one of a kind is measured, a whole one.

    Args:
        folder: the campaign's.
        trials: all of them, also those that have ended before, by id.
        gpus: of this machine, with equal memory. No more unmeasured trials than that are started,
            so that the others can have less.
        divides_cores: whether trials that share a GPU share the cores that come with it.
    """

    def __init__(
        self,
        folder: CampaignFolder,
        trials: Mapping[str, Trial],
        *,
        gpus: int,
        divides_cores: bool,
    ) -> None:
        self._folder = folder
        kinds = {trial_id: kind_of(trial) for trial_id, trial in trials.items()}
        self._kinds = {trial_id: kind for trial_id, kind in kinds.items() if kind is not None}
        self._gpus = gpus
        self._divides_cores = divides_cores
        self._measured: dict[Hashable, GpuMemory] = {}
        self._alone: set[str] = set()
        self.ended(self._kinds)

    def ended(self, trial_ids: Collection[str]) -> None:
        """Learn what trials have needed that have ended, and were measured."""
        for trial_id in trial_ids:
            self._alone.discard(trial_id)
            if memory := self._memory_of(trial_id):
                kind = self._kinds[trial_id]
                known = self._measured.get(kind, memory)
                self._measured[kind] = max(known, memory, key=lambda one: one.used)

    def divide(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Return the jobs that Ray can have, with their shares, and those that wait to be asked."""
        given: list[Job] = []
        waiting: dict[str, Job] = {}
        for job in jobs:
            trial_id = job.task.trial_id
            kind = self._kinds.get(trial_id)
            if job.after in waiting:
                waiting[trial_id] = job
            elif kind is None or job.share.gpus != 1 or job.task.network_of:
                given.append(job)
            elif kind in self._measured:
                given.append(self._sharing(job, self._measured[kind]))
            elif len(self._alone) < self._gpus:
                self._alone.add(trial_id)
                given.append(replace(job, task=replace(job.task, alone=True)))
            else:
                waiting[trial_id] = job
        return given, [*waiting.values()]

    def _sharing(self, job: Job, memory: GpuMemory) -> Job:
        cpus = job.share.cpus
        number = fitting(memory, cpus if self._divides_cores else RAY_PARTS)
        if self._divides_cores:
            cpus //= number
        # Rounded down: Ray counts ten-thousandths.
        share = replace(job.share, cpus=cpus, gpus=RAY_PARTS // number / RAY_PARTS)
        return replace(job, share=share, task=replace(job.task, cpus=cpus))

    def _memory_of(self, trial_id: str) -> GpuMemory | None:
        if trial_id not in self._kinds:
            return None
        try:
            about = self._folder.run_folder(trial_id).manifest().get("trial", {})
            return GpuMemory(**about["gpu_memory"])
        except (RunFolderError, OSError, KeyError, TypeError):  # not there, not measured, damaged
            return None
