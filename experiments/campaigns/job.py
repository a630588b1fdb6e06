"""An attempt at a trial that Ray will run, and what it gets of the machines."""

from dataclasses import dataclass

from experiments.campaigns.attempt import AttemptTask
from training.experiment_data import DataFacts


@dataclass(frozen=True)
class Share:
    """What one trial gets of the machines."""

    cpus: int
    gpus: float  # of one GPU or several; 0 for none
    memory: int  # bytes that it is expected to need at most


@dataclass(frozen=True)
class Job:
    """An attempt that Ray will run."""

    task: AttemptTask
    share: Share
    after: str  # the trial whose end it waits for, "" for none; it is earlier in the list
    facts: DataFacts  # about its images, which each machine of a cluster compares with its own
