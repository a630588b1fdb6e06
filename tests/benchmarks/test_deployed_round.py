"""The computations of the deployment benchmarks; speed is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import deployed_round
from benchmarks.bare_flower import BareFlower
from benchmarks.deployed_round import (
    BARE,
    OURS,
    PROCESSES,
    Round,
    Side,
    Work,
    kind_of,
    watch,
)
from benchmarks.deployed_transport import results

WORK = Work(sites=1, images=14, backbone="resnet18", image_size=32, batch_size=8, rounds=3)


def side(seconds: float, megabytes: int) -> Side:
    """Two rounds; in each the client computes for one second."""
    peaks = dict.fromkeys(PROCESSES, megabytes * 10**6)
    return Side([Round(seconds, 1.0)] * 2, peaks, {"train": 8, "validation": 3})


@pytest.mark.parametrize(
    "command, kind",
    [
        (["python", "-m", "fl_server.coordinator.superlink", "folder", "5", "7"], "SuperLink"),
        (["python", "/bin/flower-superlink", "--host", "127.0.0.1"], "SuperLink"),
        (["python", "-m", "fl_client.site.supernode", "folder", "9094"], "SuperNode"),
        (["python", "/bin/flower-supernode", "--insecure"], "SuperNode"),
        (["python", "/bin/flwr-serverapp", "--token", "t"], "ServerApp"),
        (["python", "/bin/flwr-clientapp", "--token", "t"], "ClientApp"),
        (["python", "/bin/flower-superexec", "--insecure"], None),
        (["python", "-m", "experiments.cli", "site", "serve", "folder"], None),
        ([], None),
    ],
)
def test_processes_are_told_by_their_command_line(command: list[str], kind: str | None) -> None:
    assert kind_of(" ".join(command)) == kind


def test_transport_is_a_round_without_the_clients_computing() -> None:
    sides = {OURS: side(4, 600), "bfloat16": side(3, 600), "adapter": side(1.5, 600)}
    transport, bfloat16, adapter, *memory = results({**sides, BARE: side(7, 1000)}, WORK)
    assert transport.samples == {OURS: [3, 3], BARE: [6, 6]}
    assert transport.value == 0.5  # (4 - 1) / (7 - 1)
    assert transport.met
    assert bfloat16.samples == {"bfloat16": [2, 2], BARE: [6, 6]}
    assert not bfloat16.met  # 2 / 6, and 0.3 is wanted
    assert adapter.name == "deployed-transport-adapter"
    assert adapter.value == pytest.approx(0.5 / 6)
    assert [one.name for one in memory] == [
        "deployed-memory-superlink",
        "deployed-memory-serverapp",
        "deployed-memory-supernode",
        "deployed-memory-clientapp",
    ]
    for one in memory:
        assert one.value == pytest.approx(0.6)
        assert one.medians == {OURS: 600, BARE: 1000}


def test_a_round_over_sites_is_compared_with_a_bare_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def bare(work: Work, sizes: dict[str, int]) -> Side:
        asked.append((work.rounds, sizes))
        return side(20, 1)

    monkeypatch.setattr(deployed_round, "over_sites", lambda work: side(5, 1))
    monkeypatch.setattr(deployed_round, "over_bare_flower", bare)
    (result,) = deployed_round.measure(repeats=2)
    assert result.value == 0.25  # computing is part of a round here
    # As many images as ours, and round one beside those that count.
    assert asked == [(3, {"train": 8, "validation": 3})]


def test_a_watched_process_leaves_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed_round, "kind_of", lambda command: "ServerApp")
    program = "import time; held = b'x' * 300_000_000; del held; time.sleep(1)"
    run = subprocess.Popen([sys.executable, "-c", program])
    peaks = watch(run, lambda: [psutil.Process(run.pid)])
    assert run.returncode == 0
    assert 300e6 < peaks["ServerApp"] < 400e6  # though freed before the end


def test_a_run_that_is_watched_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed_round, "_RUN_SECONDS", 0.0)
    run = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(RuntimeError, match="did not end"):
        watch(run, list)
    assert run.returncode == -9


ROUNDS = [{"seconds": 20.0, "computing": 2.0}]


class TestRoundsOfBareFlower:
    def test_are_read_from_what_the_app_wrote(self, tmp_path: Path) -> None:
        said = "aggregate_train: Received 3 results and 0 failures"
        (tmp_path / "run.output").write_text(said)
        (tmp_path / "rounds.json").write_text(json.dumps(ROUNDS))
        assert BareFlower(tmp_path, 3).rounds() == ROUNDS

    def test_do_not_count_where_a_client_failed(self, tmp_path: Path) -> None:
        said = "aggregate_train: Received 2 results and 1 failures"
        (tmp_path / "run.output").write_text(said)
        (tmp_path / "rounds.json").write_text(json.dumps(ROUNDS))
        with pytest.raises(RuntimeError, match="1 failures"):
            BareFlower(tmp_path, 3).rounds()

    def test_are_missing_where_the_run_failed(self, tmp_path: Path) -> None:
        (tmp_path / "run.output").write_text("database is locked")
        with pytest.raises(RuntimeError, match="database is locked"):
            BareFlower(tmp_path, 3).rounds()
