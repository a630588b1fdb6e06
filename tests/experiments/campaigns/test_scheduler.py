"""A campaign's own real Ray: what it plans, what it returns, and that it ends."""

import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import joblib
import psutil
import pytest

from experiments.campaigns.attempt import AttemptTask
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.scheduler import Cluster, Job, Share
from experiments.campaigns.trial import Trial
from operation.processes import processes_of
from tests.runs import fedskin, tiny_config, tiny_options
from training.errors import ConfigError


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(None) as running:
        yield running
    assert processes_of(running._token) == []
    assert not running._home.exists()


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
    machines = Cluster(None)
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
    jobs = [Job(tasks[0], share, after=""), Job(tasks[1], share, after=names[0])]
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


@pytest.fixture
def standing_cluster() -> Iterator[str]:
    """A Ray cluster that was there before, of one machine with two cores; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tempfile.mkdtemp(prefix="fedskin-ray-", dir="/tmp")  # Ray's socket names must be short
    head = subprocess.Popen(
        [
            *(Path(sysconfig.get_path("scripts")) / "ray", "start", "--head", "--block"),
            *(f"--port={port}", "--num-cpus=2", "--include-dashboard=false"),
            *("--node-ip-address=127.0.0.1", f"--temp-dir={home}", "--disable-usage-stats"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert head.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
    yield f"127.0.0.1:{port}"
    family = psutil.Process(head.pid).children(recursive=True)
    head.terminate()
    head.wait(30)
    for process in psutil.wait_procs(family, timeout=10)[1]:
        process.kill()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
def test_a_standing_cluster_runs_the_trials_and_their_own_rays_stay_apart(
    standing_cluster: str, synthetic_ham: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.toml").write_text(
        'name = "one"\ncpus-per-trial = 1\n[[part]]\ncommand = "simulate"\n', encoding="utf-8"
    )
    options = tiny_options(synthetic_ham, tmp_path / "cache", dataset="ham10000", rounds=1)
    command = ["campaign", "run", "one.toml", "--out", "out", "--ray-address", standing_cluster]
    result = fedskin(*command, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 of 1 done" in result.stdout
    code = (
        "import ray, ray._private.state\n"
        f"ray.init(address={standing_cluster!r}, log_to_driver=False)\n"
        "print('actors:', len(ray._private.state.actors()))\n"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    # The trial's clients are Ray actors: of another Ray.
    assert "actors: 0" in seen.stdout, seen.stdout + seen.stderr
