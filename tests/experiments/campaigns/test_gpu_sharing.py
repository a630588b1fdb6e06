"""Trials that share a GPU, by the memory that the first of their kind needed; GPUs are counted."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import experiments.campaigns
from experiments.campaigns import scheduler
from experiments.campaigns.attempt import AttemptTask
from experiments.campaigns.campaign_file import read_campaign
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.gpu_sharing import GpuSharing, fitting, kind_of
from experiments.campaigns.job import Job, Share
from experiments.campaigns.scheduler import Cluster
from experiments.campaigns.trial import Trial
from operation import ray_head
from tests.support import make_config
from training.config import ExperimentConfig
from training.experiment_data import DataFacts
from training.gpu_memory import GpuMemory

CAMPAIGNS = Path(experiments.campaigns.__file__).parent
FACTS = DataFacts("ham10000", "f" * 64, "e" * 64, ("mel", "nv"))


def trial(command: str = "simulate", **changes: Any) -> Trial:
    return Trial(command, make_config(**changes), {})


def job(folder: CampaignFolder, trial_id: str, *, network_of: str = "", cpus: int = 8) -> Job:
    task = AttemptTask(folder.path, trial_id, "simulate", network_of, cpus, "run", 60.0)
    return Job(task, Share(cpus, 1.0, 10**9), after=network_of, facts=FACTS)


def needed(folder: CampaignFolder, trial_id: str, used: int) -> None:
    """Let a trial have ended that used so many of 240 bytes."""
    run = folder.run_folder(trial_id)
    run.path.mkdir(parents=True, exist_ok=True)
    run.update_manifest(trial={"gpu_memory": {"used": used, "total": 240}})


@pytest.mark.parametrize(
    "used, most, number",
    [
        # 240 / (1.2 × used) = 200 / used
        (10, 100, 20),
        (10, 8, 8),
        (100, 8, 2),
        (101, 8, 1),
        (240, 8, 1),
    ],
)
def test_so_many_share_a_gpu_that_a_fifth_more_memory_suffices(
    used: int, most: int, number: int
) -> None:
    assert fitting(GpuMemory(used, 240), most) == number


def test_of_every_campaign_that_comes_along_the_kinds_are_known() -> None:
    """As their files have them: most leave the optimizer to the study."""
    files = sorted(CAMPAIGNS.glob("*.toml"))
    trials = {file.stem: read_campaign(file).trials for file in files}
    assert all(trials.values())
    kinds = {name: {kind_of(trial) for trial in several} for name, several in trials.items()}
    assert len(kinds["smoke"]) > 1
    auto = Trial("simulate", ExperimentConfig(optimizer="auto"), {})
    assert kind_of(auto) == kind_of(replace(auto, config=ExperimentConfig(optimizer="sgd")))


def test_trials_are_alike_if_they_need_the_same_memory() -> None:
    first = kind_of(trial())
    assert first == kind_of(trial(seed=1, rounds=9, learning_rate=0.5))
    others = (
        trial(backbone="convnext_t"),
        trial(batch_size=3),
        trial(image_size=64),
        trial(clients=9),
        trial(strategy="scaffold"),
        trial(optimizer="adam"),
        trial(optimizer="sgd", momentum=0.9),
        # Its batches are smaller, if nobody says how large.
        Trial("simulate", make_config().replace(dataset="brats2019"), {}),
        trial("heads"),
    )
    assert first not in [kind_of(other) for other in others]
    assert kind_of(trial(trainable="head")) is None, "its features may be in the cache"


def test_one_of_a_kind_runs_alone_and_the_others_share(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path)
    trials = {"a0": trial(), "a1": trial(), "a2": trial(), "b": trial(batch_size=3)}
    trials |= {"c": trial(trainable="head"), "d": trial(clients=9)}
    sharing = GpuSharing(folder, trials, gpus=2, divides_cores=True)
    jobs = [job(folder, name) for name in trials] + [job(folder, "d2", network_of="d")]
    given, waiting = sharing.divide(jobs)
    # Two of no known need for the two GPUs, and the one that always has a whole one.
    assert [(one.task.trial_id, one.task.alone) for one in given] == [
        *(("a0", True), ("a1", True), ("c", False))
    ]
    assert {one.share.gpus for one in given} == {1.0}
    assert [one.task.trial_id for one in waiting] == ["a2", "b", "d", "d2"]

    needed(folder, "a0", 60)  # 200 / 60: three on a GPU
    sharing.ended(["a0"])
    given, waiting = sharing.divide(waiting)
    share = given[0].share
    # Two of eight cores each, and no more than a whole GPU together.
    assert (given[0].task.trial_id, given[0].task.alone, given[0].task.cpus) == ("a2", False, 2)
    assert (share.cpus, share.gpus) == (2, 0.3333)
    assert [one.task.trial_id for one in given] == ["a2", "b"]
    sharing.ended(["b"])  # it failed, so its kind stays unknown
    given, waiting = sharing.divide(waiting)
    assert [(one.task.trial_id, one.task.alone) for one in given] == [("d", True), ("d2", False)]
    assert given[1].share.gpus == 1.0
    assert not waiting


def test_what_ended_trials_needed_counts_when_a_campaign_goes_on(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path)
    for name, used in (("a0", 90), ("a1", 60)):
        needed(folder, name, used)
    trials = {name: trial() for name in ("a0", "a1", "a2")}
    sharing = GpuSharing(folder, trials, gpus=1, divides_cores=False)
    ((found,), waiting) = sharing.divide([job(folder, "a2", cpus=1)])
    # By the one that needed more; each has the cores that the campaign says.
    assert (found.share.gpus, found.share.cpus, waiting) == (0.5, 1, [])


@pytest.fixture
def one_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A machine of six cores with a GPU; Ray believes both."""
    start = ray_head.start

    def with_gpu(folder: str, **options: Any) -> object:
        return start(folder, **options | {"cpus": 6, "gpus": 1})

    monkeypatch.setattr(ray_head, "start", with_gpu)
    with Cluster(None, CampaignFolder(tmp_path)) as cluster:
        yield cluster


def test_ray_runs_them_side_by_side(
    one_gpu: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CampaignFolder(tmp_path)
    monkeypatch.setattr(scheduler, "attempt", _meet)
    names = ("a0", "a1", "a2")
    assert one_gpu.own_gpus == 1
    share = one_gpu.share(cpus=0, gpus=0.0, memory=lambda cpus: 10**7)
    assert (share.cpus, share.gpus) == (6, 1.0)
    jobs = [Job(job(folder, name).task, share, "", FACTS) for name in names]
    sharing = GpuSharing(folder, {n: trial() for n in names}, gpus=1, divides_cores=True)
    ended = [each for turn in one_gpu.run(jobs, sharing) for each in turn.items()]
    assert ended[0] == ("a0", "alone: 1 at once")
    assert sorted(ended[1:]) == [("a1", "2 at once"), ("a2", "2 at once")]


def _meet(task: AttemptTask) -> str:
    """Wait for the trials that should run at the same time; return how many there were."""
    place = task.campaign
    (place / task.trial_id).touch()
    wanted = 1 if task.alone else 2
    end = time.monotonic() + 60
    while (met := len([*place.glob("a[0-9]")])) < wanted and time.monotonic() < end:
        time.sleep(0.02)
    if not task.alone:
        return f"{met} at once"
    (place / task.trial_id).unlink()
    needed(CampaignFolder(place), task.trial_id, 100)  # 200 / 100: two on a GPU
    return f"alone: {met} at once"
