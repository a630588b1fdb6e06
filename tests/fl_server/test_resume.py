"""Kills in the middle of a round: nothing is left running, and resuming gives the same weights."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import psutil
import pytest

from operation.fork_server import Forked
from operation.processes import processes_of
from tests.runs import begin, fedskin, read_json, tiny_options

pytestmark = pytest.mark.slow

# A kill in the third round comes long before the last, however fast the machine.
ROUNDS = 5
# With min-replies = 3 no round is closed without a client; Adam's persistent state would show a
# step taken twice.
CHANGES = {
    "rounds": ROUNDS,
    "min_replies": 3,
    "client_optimizer": "persistent",
    "optimizer": "adam",
}
# int8's residual is a state of the clients, too; FedAdam's moments are one of the server, and
# SCAFFOLD's controls are of both and travel.
OWN = {
    "classifier": {"wire_format": "float32", "strategy": "scaffold", "optimizer": "sgd"},
    "clip": {"wire_format": "int8", "strategy": "fedadam"},
}
# So many rounds that a run is still under way when the test has looked at its processes.
LONG = 100


@pytest.fixture(scope="module")
def undisturbed(
    synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict]:
    """The metrics of a run of an objective without kills."""

    @lru_cache
    def figures(objective: str) -> dict:
        folder = tmp_path_factory.mktemp("undisturbed")
        changes = {**CHANGES, **OWN[objective]}
        options = tiny_options(synthetic_ham, cache, objective=objective, **changes)
        result = fedskin("simulate", *options, "--out", "run", cwd=folder)
        assert result.returncode == 0, result.stdout + result.stderr
        return read_json(folder / "run" / "metrics.json")

    return figures


def start(data: Path, cache: Path, out: Path, **changes: object) -> tuple[Forked, str]:
    """Start a run and return in the middle of its third round, with the token of its processes."""
    options = tiny_options(data, cache, **CHANGES | changes)
    output = out.with_suffix(".output")
    starter = begin("simulate", *options, "--out", out, cwd=out.parent, output=output)
    deadline = time.monotonic() + 300  # on a machine that does other work besides
    while True:
        assert starter.poll() is None, out.with_suffix(".output").read_text()
        if time.monotonic() > deadline:
            os.killpg(starter.pid, signal.SIGKILL)  # or it would slow down every test after this
            raise AssertionError("the third round was not reached")
        state = out / "checkpoint" / "state.json"
        if state.exists() and read_json(state)["round"] >= 2:
            break
        time.sleep(0.02)
    time.sleep(0.2)  # the third round is under way
    return starter, read_json(out / "manifest.json")["starter"]["token"]


def kill_one(part: str) -> Callable[[Forked, str], None]:
    def kill(_: Forked, token: str) -> None:
        for process in processes_of(token):
            if part in " ".join(process.cmdline()):
                process.kill()
                return
        raise AssertionError(f"no process {part}")

    return kill


KILLS: dict[str, Callable[[Forked, str], None]] = {
    "the starter's process group": lambda starter, _: os.killpg(starter.pid, signal.SIGKILL),
    "the starter": lambda starter, _: starter.kill(),
    "the SuperLink": kill_one("fl_server.simulation_link"),
    "the ServerApp": kill_one("fl_server.simulation_app"),
    "the raylet": kill_one("raylet/raylet"),
    "a client": kill_one("operation.ray_worker"),
}


@pytest.mark.parametrize(
    "victim, objective",
    [
        *((victim, "classifier") for victim in KILLS if victim != "the starter"),
        ("the starter", "clip"),
    ],
)
def test_resume_after_a_kill_is_exact(
    victim: str,
    objective: str,
    synthetic_ham: Path,
    cache: Path,
    tmp_path: Path,
    undisturbed: Callable[[str], dict],
) -> None:
    out = tmp_path / "run"
    starter, token = start(synthetic_ham, cache, out, objective=objective, **OWN[objective])
    KILLS[victim](starter, token)
    assert starter.wait(120) not in (0, None)
    assert not (out / "metrics.json").exists(), "the killed run must not have completed"
    wait_for_end(token)

    # The text that the run began with is in its folder, whatever becomes of the cache.
    text = kept_text(out)
    assert (text is not None) == (objective == "clip")
    shutil.rmtree(cache / "text-features", ignore_errors=True)
    resumed = fedskin("simulate", "--resume", "--out", out, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert kept_text(out) == text
    assert not (cache / "text-features").exists(), "no text tower is needed again"
    assert read_json(out / "metrics.json") == undisturbed(objective)
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert [record["round"] for record in rounds] == list(range(1, ROUNDS + 1))


@pytest.mark.parametrize("victim", ["operation.fork_server", "gcs_server"])
def test_kill_of_a_helper_ends_in_a_result_or_in_a_resumable_failure(
    victim: str,
    synthetic_ham: Path,
    cache: Path,
    tmp_path: Path,
    undisturbed: Callable[[str], dict],
) -> None:
    """The rest of a short run may do without these."""
    out = tmp_path / "run"
    starter, token = start(synthetic_ham, cache, out, **OWN["classifier"])
    kill_one(victim)(starter, token)
    status = starter.wait(200)
    assert status is not None
    if status != 0:
        assert not (out / "metrics.json").exists()
        assert fedskin("simulate", "--resume", "--out", out, cwd=tmp_path).returncode == 0
    wait_for_end(token)
    assert read_json(out / "metrics.json") == undisturbed("classifier")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_run_leaves_no_process_behind(
    number: signal.Signals, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """By Ctrl-C, sent to the group, and as a batch system does, which ends the process alone."""
    out = tmp_path / "run"
    starter, token = start(synthetic_ham, cache, out, rounds=LONG)
    homes = [Path(process.environ()["FLWR_HOME"]) for process in processes_of(token)]
    (os.killpg if number is signal.SIGINT else os.kill)(starter.pid, number)
    assert starter.wait(30) == 130
    assert processes_of(token) == []
    assert not any(home.exists() for home in homes)
    assert "--resume" in out.with_suffix(".output").read_text()
    manifest = read_json(out / "manifest.json")
    assert (manifest["status"], manifest["cause"]) == ("failed", "interrupted")


def test_a_run_is_not_run_twice_at_once(synthetic_ham: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    starter, token = start(synthetic_ham, cache, out, rounds=LONG)
    second = fedskin("simulate", "--resume", "--out", out, cwd=tmp_path)
    assert second.returncode == 2
    assert f"process {starter.pid} is running this run" in second.stderr.replace("\n", " ")
    assert psutil.pid_exists(starter.pid)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    wait_for_end(token)


def kept_text(out: Path) -> tuple[bytes, int] | None:
    """The bytes and the time of a run's text features: the same file, or another."""
    path = out / "text-features.safetensors"
    return (path.read_bytes(), path.stat().st_mtime_ns) if path.exists() else None


def wait_for_end(token: str) -> None:
    """The watchdog ends everything within seconds of the starter's death."""
    deadline = time.monotonic() + 20
    while processes_of(token):
        assert time.monotonic() < deadline, [p.cmdline() for p in processes_of(token)]
        time.sleep(0.1)
