"""A real Ray of the campaign's own: what it plans, what it gives back, and that it ends."""

from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest

from experiments.campaigns.attempt import Order
from experiments.campaigns.folder import CampaignFolder
from experiments.campaigns.scheduler import Cluster, Job, Share
from experiments.campaigns.trial import Trial
from fl_server.processes import processes_of
from tests.runs import tiny_config
from training.errors import ConfigError


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(None) as running:
        yield running
    assert processes_of(running._token) == []
    assert not running._home.exists()


def test_a_trial_gets_one_core_unless_it_asks_for_more(cluster: Cluster) -> None:
    assert cluster.share(cpus=0, gpus=0.0, memory=10**9).cpus == 1
    assert cluster.share(cpus=joblib.cpu_count(), gpus=0.0, memory=10**9).cpus == joblib.cpu_count()


def test_more_than_any_machine_has_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match="cpus-per-trial = 1000: the largest machine has"):
        cluster.share(cpus=1000, gpus=0.0, memory=10**9)
    with pytest.raises(ConfigError, match="gpus-per-trial = 100: the largest machine has"):
        cluster.share(cpus=1, gpus=100.0, memory=10**9)


def test_a_trial_that_may_need_more_memory_than_there_is_gets_all_of_it(cluster: Cluster) -> None:
    share = cluster.share(cpus=1, gpus=0.0, memory=10**15)
    assert 10**9 < share.memory < 10**15


def test_failures_come_back_with_their_causes(cluster: Cluster, tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path / "campaign")
    config = tiny_config(tmp_path / "nothing", tmp_path / "cache", objective="clip")
    names = ["clip-resnet18-000000000000", "clip-resnet18-000000000001"]
    for name in names:
        campaign.write_config(name, Trial("clip", config, {}))
    orders = [Order(campaign.path, name, "clip", "", cpus=1, hang_seconds=60.0) for name in names]
    share = Share(cpus=1, gpus=0.0, memory=10**9)
    jobs = [Job(orders[0], share, after=""), Job(orders[1], share, after=names[0])]
    found: dict[str, str] = {}
    for ended in cluster.run(jobs):
        found |= ended
    assert found.keys() == set(names)
    assert all("exit status 2" in cause and "nothing" in cause for cause in found.values())
    assert {campaign.attempt(name)["number"] for name in names} == {1}, "no second attempt"


def test_a_cluster_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"--ray-address 127\.0\.0\.1:1: no Ray cluster answers"):
        Cluster("127.0.0.1:1").__enter__()
    with pytest.raises(ConfigError, match="--ray-address here: write it as HOST:PORT, or auto"):
        Cluster("here").__enter__()
