"""A campaign's own real Ray: what it plans, what it returns, and that it ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import psutil
import pytest
import ray

from experiments.campaigns.attempt import AttemptTask
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.job import Job, Share
from experiments.campaigns.scheduler import Cluster
from experiments.campaigns.trial import Trial
from operation.processes import processes_of
from tests.runs import tiny_config
from training.errors import ConfigError
from training.experiment_data import DataFacts


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(None, CampaignFolder(tmp_path_factory.mktemp("campaign"))) as running:
        yield running
    assert processes_of(running._token) == []
    assert not running._home.exists()


@pytest.mark.usefixtures("cluster")
def test_another_user_of_this_machine_runs_no_code_in_it() -> None:
    """It answers on 127.0.0.1, but only who knows its secret."""
    join = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
    stranger = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    words = [sys.executable, "-c", join, ray.get_runtime_context().gcs_address]
    for known in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "guessed"}):
        refused = subprocess.run(
            words, env={**stranger, **known}, capture_output=True, text=True, timeout=120
        )
        assert refused.returncode == 1
        assert "AuthenticationError" in refused.stderr


def test_nothing_runs_that_a_campaign_does_not_need(cluster: Cluster) -> None:
    """Neither dashboard nor agents nor monitors: Ray's two servers, and its idle workers."""
    processes = processes_of(cluster._token)
    assert {process.name() for process in processes} >= {"gcs_server", "raylet"}
    scripts = {Path(word).name for process in processes for word in process.cmdline()}
    assert {name for name in scripts if name.endswith(".py")} <= {
        "default_worker.py",
        "setup_worker.py",
    }


def test_a_trial_gets_one_core_unless_it_asks_for_more(cluster: Cluster) -> None:
    assert cluster.share(cpus=0, gpus=0.0, memory=little) == Share(1, 0.0, 10**9)
    every = joblib.cpu_count()
    assert cluster.share(cpus=every, gpus=None, memory=little) == Share(every, 0.0, every * 10**9)


def little(cpus: int) -> int:
    """A gigabyte for each core."""
    return cpus * 10**9


def test_more_than_any_machine_has_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match=r"cpus-per-trial = 1000, .*: no machine has both"):
        cluster.share(cpus=1000, gpus=None, memory=little)
    with pytest.raises(ConfigError, match="gpus-per-trial = 100: no machine has both"):
        cluster.share(cpus=1, gpus=100.0, memory=little)


def test_a_trial_that_may_need_more_memory_than_there_is_gets_all_of_it(cluster: Cluster) -> None:
    share = cluster.share(cpus=1, gpus=None, memory=lambda cpus: 10**15)
    assert 10**9 < share.memory < 10**15


@pytest.mark.parametrize(
    "nodes, wished, share",
    [
        # A core for each eighth of a machine's GPUs; without GPUs one core.
        ([{"CPU": 32.0, "GPU": 8.0}], (0, 0.0), (4, 1.0)),
        ([{"CPU": 32.0, "GPU": 8.0}], (0, 0.5), (2, 0.5)),
        ([{"CPU": 32.0, "GPU": 8.0}], (0, None), (1, 0.0)),
        # What no machine has together is not asked of one: the trial would wait for ever.
        ([{"CPU": 64.0}, {"CPU": 8.0, "GPU": 1.0}], (0, 0.0), (8, 1.0)),
        ([{"CPU": 64.0}, {"CPU": 8.0, "GPU": 1.0}], (64, 1.0), None),
        # The smallest part, so that every machine with a GPU can take a trial.
        ([{"CPU": 64.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}], (0, 1.0), (8, 1.0)),
    ],
)
def test_shares_of_other_machines(
    nodes: list[dict[str, float]],
    wished: tuple[int, float | None],
    share: tuple[int, float] | None,
) -> None:
    machines = Cluster(None, CampaignFolder(Path()))
    machines._nodes = nodes
    cpus, gpus = wished
    if share is None:
        with pytest.raises(ConfigError, match="no machine has both"):
            machines.share(cpus=cpus, gpus=gpus, memory=little)
    else:
        found = machines.share(cpus=cpus, gpus=gpus, memory=little)
        assert (found.cpus, found.gpus) == share


def test_failures_come_back_with_their_causes(cluster: Cluster, tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path / "campaign")
    config = tiny_config(tmp_path / "nothing", tmp_path / "cache", objective="clip")
    names = ["clip-resnet18-000000000000", "clip-resnet18-000000000001"]
    for name in names:
        campaign.write_config(name, Trial("clip", config, {}))
    tasks = [
        AttemptTask(campaign.path, name, "clip", "", cpus=1, run="this", hang_seconds=60.0)
        for name in names
    ]
    share = Share(cpus=1, gpus=0.0, memory=10**9)
    facts = DataFacts("ham10000", "", None, ())
    jobs = [Job(tasks[0], share, "", facts), Job(tasks[1], share, names[0], facts)]
    found: dict[str, str] = {}
    for ended in cluster.run(jobs):
        found |= ended
    assert found.keys() == set(names)
    assert all("exit status 2" in cause and "nothing" in cause for cause in found.values())
    assert {campaign.attempt(name)["number"] for name in names} == {1}, "no second attempt"


def test_nothing_listens_on_a_network(cluster: Cluster) -> None:
    heard = {
        found.laddr.ip
        for process in processes_of(cluster._token)
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    }
    assert heard
    assert heard <= {"127.0.0.1", "::ffff:127.0.0.1"}
