"""The resources that a trial needs, and whose network it uses."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.job import Share
from experiments.campaigns.jobs import make_jobs, sharing_of
from experiments.campaigns.scheduler import Cluster
from experiments.campaigns.trial import Trial
from models.activation_sizes import ACTIVATION_BYTES
from tests.support import make_config
from training.checkpoint import Progress
from training.config import parse
from training.experiment_data import DataFacts

FACTS = DataFacts("ham10000", "f" * 64, "e" * 64, ("mel", "nv"))


@dataclass
class Machines:
    """Gives everybody what is asked for."""

    own_gpus: int = 0

    def share(self, *, cpus: int, gpus: float | None, memory: Callable[[int], int]) -> Share:
        return Share(cpus or 1, gpus or 0.0, memory(cpus or 1))


def heads(neighbors: int, **changes: Any) -> Trial:
    config = make_config(knn_neighbors=neighbors, **changes)
    return Trial("heads", config, {})


def lenders(folder: CampaignFolder, *trials: Trial, done: tuple[int, ...] = ()) -> list[str]:
    """Whose network each pending trial takes, as indices; "" for its own."""
    named = {trial.id(FACTS): (trial, FACTS) for trial in trials}
    names = list(named)
    campaign = Campaign("c", trials, hang_minutes=2.0, cpus_per_trial=0, gpus_per_trial=0.0)
    pending = [name for index, name in enumerate(names) if index not in done]
    jobs = make_jobs(campaign, folder, named, pending, cast(Cluster, Machines()))
    for job in jobs:
        assert job.task.hang_seconds == 120.0
        waits = job.task.network_of if job.task.network_of in pending else ""
        assert job.after == waits
    order = [job.task.trial_id for job in jobs]
    for job in jobs:
        assert not job.after or order.index(job.after) < order.index(job.task.trial_id)
    found = {job.task.trial_id: job.task.network_of for job in jobs}
    return [str(names.index(found[n])) if found[n] else "" for n in names if n in found]


def test_the_first_of_alike_heads_trains_the_network_for_all(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path)
    assert lenders(folder, heads(1), heads(5), heads(9), heads(1, seed=1)) == ["", "0", "0", ""]


def test_a_network_that_is_trained_already_is_taken_at_once(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path)
    trials = heads(1), heads(5), heads(9)
    trained = folder.run_folder(trials[1].id(FACTS))
    trained.create(trials[1].config)
    trained.checkpoint.save(Progress(round=1))
    trained.update_manifest(status="completed")
    assert lenders(folder, *trials, done=(1,)) == ["1", "1"]


def test_a_half_trained_one_goes_on_and_lends_its_network_then(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path)
    trials = heads(1), heads(5)
    begun = folder.run_folder(trials[1].id(FACTS))
    begun.create(trials[1].config)
    begun.update_manifest(status="running")
    assert lenders(folder, *trials) == ["1", ""]


@pytest.mark.parametrize(
    "own_gpus, per_trial, shared", [(2, 0.0, True), (2, 1.0, False), (0, 0.0, False)]
)
def test_gpus_are_shared_by_measured_memory_unless_the_campaign_says_how(
    own_gpus: int, per_trial: float, shared: bool, tmp_path: Path
) -> None:
    trials = (heads(1),)
    campaign = Campaign("c", trials, hang_minutes=2.0, cpus_per_trial=0, gpus_per_trial=per_trial)
    machines = cast(Cluster, Machines(own_gpus))
    named = {trial.id(FACTS): (trial, FACTS) for trial in trials}
    found = sharing_of(campaign, CampaignFolder(tmp_path), named, machines)
    assert (found is not None) == shared


def test_a_trials_memory_includes_a_batch_where_it_is_computed(tmp_path: Path) -> None:
    """The study's batch of 32 images, though the trial's file leaves it open."""

    def memory(device: str) -> int:
        config = parse({"backbone": "convnext_t", "image-size": 224, "device": device})
        trial = Trial("clip", config, {})
        named = {trial.id(FACTS): (trial, FACTS)}
        campaign = Campaign("c", [trial], hang_minutes=2.0, cpus_per_trial=0, gpus_per_trial=0.0)
        machines = cast(Cluster, Machines())
        [job] = make_jobs(campaign, CampaignFolder(tmp_path), named, [*named], machines)
        return job.share.memory

    on_gpu, on_cpu = memory("cuda"), memory("cpu")
    assert on_cpu - on_gpu == 1.25 * 32 * ACTIVATION_BYTES["convnext_t"]
