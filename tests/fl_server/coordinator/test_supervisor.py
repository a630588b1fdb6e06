"""A supervisor's reactions to events, with dummy processes and a dummy SuperLink."""

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fl_server.coordinator import runner
from fl_server.coordinator import supervisor as module
from fl_server.coordinator.control import ControlError, ControlRefused
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Orders
from fl_server.coordinator.runner import Judgement
from fl_server.coordinator.sites import Sites
from fl_server.coordinator.supervisor import Supervisor
from operation.files import read_json
from tests.support import make_config
from training.run_folder import RunFolder
from training.run_state import RunState


class Program:
    """A supervised program that is started whenever it is asked to be."""

    def __init__(self, name: str, command: Any, **options: Any) -> None:
        self.name, self.pid = name, None
        self.up, self.starts = False, 0

    def running(self) -> bool:
        return self.up

    def tend(self) -> bool:
        self.up, self.starts = True, self.starts + 1
        return True

    def end(self, grace_seconds: float = 10) -> None:
        self.up = False


class Link:
    """A SuperLink that numbers registered sites, and counts submitted runs."""

    def __init__(self) -> None:
        self.nodes: dict[int, str] = {}
        self.connected: set[int] = set()
        self.silent = False
        self.submitted: list[tuple[int, dict[str, int]]] = []
        self.stopped = 0

    def register(self, name: str, _public_key: str) -> int:
        self._answer()
        number = 100 + len(self.nodes)
        self.nodes[number] = name
        return number

    def unregister(self, node_id: int) -> None:
        self._answer()
        del self.nodes[node_id]

    def online(self) -> set[int]:
        self._answer()
        return self.connected

    def close(self) -> None:
        self.nodes = {}

    def _answer(self) -> None:
        if self.silent:
            raise ControlError("the SuperLink does not answer")


class Stage:
    """A supervisor among such things; `judgement` is what has become of a submission."""

    def __init__(self, folder: CoordinatorFolder, sockets: list[socket.socket]) -> None:
        self.folder = folder
        self.orders, self.sites = Orders(folder), Sites(folder)
        self.link = Link()
        self.programs: list[Program] = []
        self.judgement = Judgement(RunState.RUNNING)
        self.round = 0
        self.refusal: Exception | None = None
        self.sockets = sockets

    def supervise(self) -> Supervisor:
        public, inside = self.sockets
        return Supervisor(
            self.folder, token="", home=self.folder.path, public=public, inside=inside
        )

    @property
    def superlink(self) -> Program:
        return self.programs[0]

    @property
    def superexec(self) -> Program:
        return self.programs[1]

    def order(self, name: str, sites: list[str]) -> int:
        run_folder = RunFolder(self.folder.path.parent / name)
        run_folder.create(make_config())
        return self.orders.add(run_folder.path, sites, "").number

    def state(self, number: int) -> str:
        return self.orders.get(number).state


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    folder = CoordinatorFolder(tmp_path / "coordinator")
    folder.runs.mkdir(parents=True)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    stage = Stage(folder, sockets)

    def program(*arguments: Any, **options: Any) -> Program:
        stage.programs.append(Program(*arguments, **options))
        return stage.programs[-1]

    def submission(_folder: Any, order: Any, link: Link, nodes: dict[str, int]) -> SimpleNamespace:
        if stage.refusal:
            raise stage.refusal
        link.submitted.append((order.number, dict(nodes)))

        def stop() -> None:
            link.stopped += 1

        return SimpleNamespace(round=stage.round, judge=lambda: stage.judgement, stop=stop)

    monkeypatch.setattr(module, "Supervised", program)
    monkeypatch.setattr(module, "Control", lambda *_: stage.link)
    monkeypatch.setattr(runner, "Submission", submission)
    monkeypatch.setattr(module, "SITES_SECONDS", 0)
    monkeypatch.setattr(module, "ONLINE_SECONDS", 0)
    stage.sites.admit("hospital-a", "a key")
    yield stage
    for listening in sockets:
        listening.close()


def tend(supervisor: Supervisor, times: int = 4) -> None:
    """More looks than anything needs: up, an order found, submitted, judged."""
    for _ in range(times):
        supervisor.tend()


def test_one_run_at_a_time_in_the_order_of_the_orders(stage: Stage) -> None:
    numbers = [stage.order(name, ["hospital-a"]) for name in ("one", "two")]
    supervisor = stage.supervise()
    tend(supervisor)
    assert [stage.state(number) for number in numbers] == [RunState.RUNNING, RunState.WAITING]
    stage.judgement = Judgement(RunState.COMPLETED)
    tend(supervisor, 1)
    assert [stage.state(number) for number in numbers] == [RunState.COMPLETED, RunState.WAITING]
    stage.judgement = Judgement(RunState.RUNNING)
    tend(supervisor)
    assert [stage.state(number) for number in numbers] == [RunState.COMPLETED, RunState.RUNNING]
    assert [number for number, _ in stage.link.submitted] == [1, 2]


@pytest.mark.parametrize("meanwhile", ["", "stopped", "revoked"])
def test_a_run_that_is_completed_stays_so_though_its_supervisor_was_killed(
    stage: Stage, meanwhile: str
) -> None:
    """Killed before it recorded that; else the run would be judged again, or be called failed."""
    number = stage.order("run", ["hospital-a"])
    stage.orders.record(number, RunState.RUNNING)
    run_folder = RunFolder(Path(stage.orders.get(number).run_dir))
    run_folder.update_manifest(status=RunState.COMPLETED, finished="now")
    if meanwhile == "stopped":
        stage.orders.stop(number)
    elif meanwhile == "revoked":
        stage.sites.revoke("hospital-a")
    tend(stage.supervise())
    assert stage.link.submitted == []
    assert run_folder.manifest()["status"] == RunState.COMPLETED
    stopped = meanwhile == "stopped"  # as it was told
    assert stage.state(number) == (RunState.STOPPED if stopped else RunState.COMPLETED)


def test_an_unfinished_run_goes_on_under_a_new_supervisor(stage: Stage) -> None:
    stage.order("waiting", ["hospital-a"])
    number = stage.order("begun", ["hospital-a"])
    stage.orders.record(number, RunState.RUNNING)
    tend(stage.supervise())
    assert [number for number, _ in stage.link.submitted] == [2]


def test_sites_come_and_go_while_it_serves(stage: Stage) -> None:
    supervisor = stage.supervise()
    tend(supervisor)
    stage.link.connected = {100}
    stage.sites.admit("hospital-b", "b key")
    tend(supervisor, 1)
    assert list(stage.link.nodes.values()) == ["hospital-a", "hospital-b"]
    assert read_json(stage.folder.connected) == {"sites": ["hospital-a"]}
    stage.sites.revoke("hospital-a")
    tend(supervisor, 1)
    assert list(stage.link.nodes.values()) == ["hospital-b"]
    assert read_json(stage.folder.connected) == {"sites": []}


def test_a_new_superlink_knows_the_sites_and_the_run_again(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    tend(supervisor)
    stage.superlink.up = False
    # A ServerApp whose SuperLink has ended may mark its run as failed: that is no failure of the
    # run.
    stage.judgement = Judgement(RunState.FAILED, "connection refused")
    tend(supervisor, 1)
    assert stage.superexec.starts == 2, "the old one's ServerApp must not meet the new SuperLink"
    stage.judgement = Judgement(RunState.RUNNING)
    tend(supervisor)
    assert stage.superlink.starts == 2
    assert len(stage.link.submitted) == 2
    assert stage.state(1) == RunState.RUNNING
    assert list(stage.link.nodes.values()) == ["hospital-a"]


def test_a_superexec_that_died_takes_its_run_along(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    tend(supervisor)
    stage.superexec.up = False
    tend(supervisor)
    assert (stage.superexec.starts, stage.link.stopped, len(stage.link.submitted)) == (2, 1, 2)
    assert stage.superlink.starts == 1


def test_a_lost_attempt_is_made_again_but_not_for_ever(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    stage.judgement = Judgement(RunState.LOST, "the ServerApp ended")
    tend(supervisor, 50)
    order = stage.orders.get(1)
    assert len(stage.link.submitted) == stage.link.stopped == runner.MOST_LOST
    assert order.state == RunState.FAILED
    assert order.cause is not None
    assert order.cause.startswith(f"the ServerApp ended, {runner.MOST_LOST} times in a row")
    assert RunFolder(Path(order.run_dir)).manifest()["cause"] == order.cause


def test_a_silent_superlink_is_started_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0)
    supervisor = stage.supervise()
    tend(supervisor)
    stage.link.silent = True
    tend(supervisor, 1)
    stage.link.silent = False
    tend(supervisor)
    assert stage.superlink.starts == 2


def test_a_run_that_says_that_it_failed_has_failed(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    stage.judgement = Judgement(RunState.FAILED, "too few replies")
    tend(supervisor)
    order = stage.orders.get(1)
    assert (order.state, order.cause) == (RunState.FAILED, "too few replies")
    assert len(stage.link.submitted) == 1


def test_a_run_that_the_superlink_refuses_has_failed(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    stage.refusal = ControlRefused("its config")
    tend(supervisor)
    order = stage.orders.get(1)
    assert (order.state, order.cause) == (RunState.FAILED, "its config")


def test_a_full_disk_is_waited_out(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    stage.refusal = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        tend(supervisor)
    assert stage.state(1) == RunState.WAITING
    stage.refusal = None
    tend(supervisor)
    assert stage.state(1) == RunState.RUNNING


def test_a_stopped_run_ends_at_once(stage: Stage) -> None:
    number = stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    tend(supervisor)
    stage.orders.stop(number)
    tend(supervisor, 1)
    assert (stage.link.stopped, stage.state(number)) == (1, RunState.STOPPED)
    tend(supervisor)
    assert len(stage.link.submitted) == 1


def test_a_run_whose_site_is_revoked_fails_by_its_name(stage: Stage) -> None:
    stage.sites.admit("hospital-b", "b key")
    stage.order("run", ["hospital-a", "hospital-b"])
    supervisor = stage.supervise()
    tend(supervisor)
    stage.sites.revoke("hospital-b")
    tend(supervisor, 1)
    assert stage.orders.get(1).cause == "hospital-b: revoked; start a new run with the others"
    assert stage.link.stopped == 1


def test_a_site_that_is_admitted_later_is_not_of_the_run(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    tend(supervisor)
    stage.sites.admit("hospital-b", "b key")
    tend(supervisor)
    assert stage.orders.get(1).sites == ["hospital-a"]
    assert stage.state(1) == RunState.RUNNING


def test_an_orderly_end_leaves_the_run_unfinished(stage: Stage) -> None:
    stage.order("run", ["hospital-a"])
    supervisor = stage.supervise()
    tend(supervisor)
    supervisor.end()
    assert not any(program.up for program in stage.programs)
    assert stage.state(1) == RunState.RUNNING
