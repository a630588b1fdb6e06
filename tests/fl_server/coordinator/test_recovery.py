"""Whatever dies at the coordinator, the run continues from its last round and is completed."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fl_server.coordinator.bundles import bundle_to_run
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Orders
from fl_server.coordinator.sites import Sites
from operation.processes import processes_of
from operation.serving import serving
from tests.fl_server.coordinator.support import (
    make_folder,
    make_key,
    served,
    supernode,
    write_tiny_bundle,
)
from tests.runs import wait_until
from tests.support import make_config
from training.run_folder import RunFolder
from training.run_state import RunState

pytestmark = pytest.mark.slow

# At a third of a second each, more than pass between two looks of the test.
ROUNDS = 25


def part(folder: CoordinatorFolder, name: str) -> psutil.Process | None:
    """The coordinator's process whose command line holds a word."""
    now = serving(folder.path)
    if now is None:
        return None
    found = [p for p in processes_of(now.token) if any(name in word for word in p.cmdline())]
    return found[0] if found else None


def rounds_done(run_folder: RunFolder) -> int:
    return run_folder.checkpoint.progress().round


def test_a_run_outlives_every_process_of_its_coordinator(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "coordinator")
    write_tiny_bundle(folder, tmp_path / "app")
    Sites(folder).admit("hospital-a", make_key(tmp_path / "key"))
    run_folder = RunFolder(tmp_path / "run")
    run_folder.create(make_config(clients=1, rounds=ROUNDS))
    orders = Orders(folder)
    order = orders.add(run_folder.path, ["hospital-a"], bundle_to_run(folder))

    def goes_on(after: Callable[[], object]) -> None:
        before, server = rounds_done(run_folder), run_folder.manifest()["server"]
        assert 0 < before < ROUNDS
        after()
        wait_until(lambda: run_folder.manifest()["server"] not in (server, None))
        assert rounds_done(run_folder) < ROUNDS
        wait_until(lambda: rounds_done(run_folder) > before)
        assert orders.get(order.number).state == RunState.RUNNING

    def kill(name: str) -> None:
        victim = part(folder, name)
        assert victim is not None
        victim.kill()
        wait_until(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)

    with supernode(folder, tmp_path / "key", tmp_path / "site"):
        with served(folder) as process:
            wait_until(lambda: rounds_done(run_folder) >= 2)
            submitted = json.loads((run_folder.path / "manifest.json").read_text())
            for name in ("flwr-serverapp", "flower-superexec", "coordinator.superlink"):
                goes_on(lambda name=name: kill(name))
            before = serving(folder.path)
            assert before is not None
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            # The watchdog leaves none of them to disturb a successor.
            wait_until(lambda: not processes_of(before.token))
        with served(folder):
            goes_on(lambda: None)
            wait_until(lambda: orders.get(order.number).state == RunState.COMPLETED)
    manifest = run_folder.manifest()
    assert manifest["status"] == "completed"
    assert manifest["run"] == submitted["run"], "it is the same run for the sites all along"
    assert manifest["sites"].keys() == {"hospital-a"}
    assert manifest["sites"] != submitted["sites"], "of a SuperLink made anew"


def test_a_run_that_fails_or_is_stopped_makes_room_for_the_next(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "coordinator")
    write_tiny_bundle(folder, tmp_path / "app")
    orders = Orders(folder)
    for name, rounds in (("failing", 1), ("long", 10_000), ("short", 1)):
        run_folder = RunFolder(tmp_path / name)
        run_folder.create(make_config(clients=1, rounds=rounds))
        orders.add(run_folder.path, [], bundle_to_run(folder))
    (tmp_path / "failing" / "fail").touch()

    with served(folder):
        wait_until(lambda: rounds_done(RunFolder(tmp_path / "long")) > 0)
        assert (orders.get(1).state, orders.get(1).cause) == (RunState.FAILED, "as the test wished")
        server = part(folder, "flwr-serverapp")
        assert server is not None
        orders.stop(2)
        wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
        wait_until(lambda: orders.get(3).state == RunState.COMPLETED)
    assert RunFolder(tmp_path / "long").manifest()["cause"] == RunState.STOPPED
