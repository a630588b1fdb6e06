"""Trials one after the other, all forks of one process: none notices what became of the last."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from experiments.campaigns import attempt as module
from experiments.campaigns.attempt import AttemptTask, attempt
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.trial import Trial
from operation.fork_server import fork
from operation.processes import TOKEN, processes_of
from tests.runs import fedskin, read_json, tiny_config, tiny_options, wait_until

pytestmark = pytest.mark.slow

FIRST, SECOND = "simulate-resnet18-000000000001", "simulate-resnet18-000000000002"
# In the second round of three something happens to the first trial.
ROUNDS = {"rounds": 3, "threads_per_client": 1}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def by_itself(
    synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, object]:
    """The figures of the second trial as a run of its own."""
    here = tmp_path_factory.mktemp("by-itself")
    options = tiny_options(synthetic_ham, cache, **ROUNDS)
    result = fedskin("simulate", *options, "--out", "run", cwd=here)
    assert result.returncode == 0, result.stdout + result.stderr
    return read_json(here / "run" / "metrics.json")


def own_bytes(process: psutil.Process) -> int:
    """What the process has written; pages of libraries count to whoever happens to use them."""
    return sum(part.private_dirty for part in process.memory_maps())


def app_of(token: str) -> psutil.Process:
    return next(p for p in processes_of(token) if "simulation_app" in p.cmdline()[0])


def crash(token: str, _: Path) -> None:
    app_of(token).kill()


def hang(token: str, _: Path) -> None:
    app_of(token).send_signal(signal.SIGSTOP)


def leak(token: str, folder: Path) -> None:
    """Leave a process of the trial running that holds 300 MB."""
    server = module._fork_server(1)[0]
    leaked = fork(
        server,
        f"{__name__}:hold",
        environment={**os.environ, TOKEN: token},
        folder=folder,
        output=folder / "leaked",
    )
    assert leaked.poll() is None


def hold() -> None:
    held = bytearray(b"x") * 300_000_000
    time.sleep(600)
    del held


def lose_fork_server(_token: str, _: Path) -> None:
    os.kill(module._fork_server(1)[1], signal.SIGKILL)


@pytest.mark.parametrize("disturb", [crash, hang, leak, lose_fork_server])
def test_the_next_trial_is_as_if_it_ran_by_itself(
    disturb: Callable[[str, Path], None],
    by_itself: dict[str, object],
    synthetic_ham: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # for `hold`
    campaign = CampaignFolder(tmp_path / "campaign")
    tasks = {}
    for trial_id, seed in ((FIRST, 1), (SECOND, 0)):
        config = tiny_config(synthetic_ham, cache, seed=seed, **ROUNDS)
        campaign.write_config(trial_id, Trial("simulate", config, {}))
        tasks[trial_id] = AttemptTask(
            campaign.path, trial_id, "simulate", "", cpus=1, run="this", hang_seconds=30.0
        )
    server_pid = module._fork_server(1)[1]
    first = campaign.run_folder(FIRST)

    def in_round_two() -> None:
        while first.checkpoint.progress().round < 1:
            time.sleep(0.02)
        disturb(first.manifest()["starter"]["token"], tmp_path)

    threading.Thread(target=in_round_two, daemon=True).start()
    assert attempt(tasks[FIRST]) == ""
    assert campaign.attempt(FIRST)["number"] == (1 if disturb is leak else 2)
    wait_until(lambda: not processes_of(first.manifest()["starter"]["token"]))
    assert (module._fork_server(1)[1] == server_pid) == (disturb is not lose_fork_server)

    server = psutil.Process(module._fork_server(1)[1])
    wait_until(lambda: not server.children())
    before = own_bytes(server)
    assert attempt(tasks[SECOND]) == ""
    assert campaign.attempt(SECOND)["number"] == 1
    assert campaign.run_folder(SECOND).metrics() == by_itself
    wait_until(lambda: not server.children())
    assert own_bytes(server) < before + 10e6
