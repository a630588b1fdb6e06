"""One attempt at a run: what Flower and the ServerApp get, and how its state is determined."""

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fl_server.coordinator import runner as module
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Order
from fl_server.coordinator.runner import Submission
from operation.errors import OperationError
from operation.processes import ProcessId
from tests.support import BACKBONE, make_config
from training.config import PATH_KEYS
from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.run_state import RunState

BUNDLE = b"a bundle"
SHA256 = hashlib.sha256(BUNDLE).hexdigest()


class Control:
    """Takes every run, and says of it what the test wants."""

    def __init__(self) -> None:
        self.started: list[tuple[bytes, str, Mapping[str, Any]]] = []
        self.word = "running"

    def start(self, bundle: bytes, sha256: str, run_config: Mapping[str, Any]) -> int:
        self.started.append((bundle, sha256, run_config))
        return 7

    def status(self, run_id: int) -> str:
        assert run_id == 7
        return self.word


class Attempt:
    """A coordinator's folder with a bundle, and a run folder."""

    def __init__(self, path: Path) -> None:
        self.folder = CoordinatorFolder(path)
        (path / "fedskin-0.0.9.fab").write_bytes(BUNDLE)  # of the version that began the run
        self.run_folder = RunFolder(path / "run")
        self.run_folder.create(make_config(test_dir="/test", cache_dir="/cache"))
        self.control = Control()
        self.order = Order(1, str(self.run_folder.path), ["a", "b"], SHA256, "now")

    def submit(self) -> Submission:
        nodes = {"a": 1, "b": 2, "later": 3}
        return Submission(self.folder, self.order, self.control, nodes)  # type: ignore[arg-type]


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


def test_sites_see_no_path_and_the_serverapp_sees_them_all(attempt: Attempt) -> None:
    attempt.submit()
    [(bundle, sha256, run_config)] = attempt.control.started
    assert (bundle, sha256) == (BUNDLE, SHA256)
    assert {run_config[key] for key in PATH_KEYS} == {""}
    assert run_config["backbone"] == BACKBONE
    assert tomllib.loads(attempt.folder.places.read_text()) == {
        "data-dir": "",
        "test-dir": "/test",
        "weights-dir": "",
        "init-from": "",
        "reference-dir": "",
        "run-dir": str(attempt.run_folder.path),
        "cache-dir": "/cache",
        "split-file": "",
    }


def test_the_run_folder_names_the_orders_sites_and_one_run_for_all_attempts(
    attempt: Attempt,
) -> None:
    attempt.submit()
    first = attempt.run_folder.manifest()
    attempt.run_folder.update_manifest(status="failed", cause="x", server={"pid": 1})
    attempt.submit()
    again = attempt.run_folder.manifest()
    assert first["sites"] == again["sites"] == {"a": 1, "b": 2}
    assert first["run"] == again["run"]
    assert len(bytes.fromhex(first["run"])) == 16
    assert first["bundle"] == SHA256
    assert (again["status"], again["cause"], again["server"]) == ("running", None, None)


@pytest.mark.parametrize(
    "changes, state, cause",
    [
        ({}, RunState.RUNNING, None),
        ({"status": "completed"}, RunState.COMPLETED, None),
        ({"status": "failed", "cause": "too few"}, RunState.FAILED, "too few"),
    ],
)
def test_the_run_folder_is_the_judge(
    changes: dict[str, str], state: str, cause: str | None, attempt: Attempt
) -> None:
    submission = attempt.submit()
    attempt.run_folder.update_manifest(server=asdict(ProcessId.own()), **changes)
    found = submission.judge()
    assert (found.state, found.cause) == (state, cause)


@pytest.mark.parametrize(
    "status, state", [("running", RunState.LOST), ("completed", RunState.COMPLETED)]
)
def test_a_serverapp_that_is_gone_has_lost_what_it_had_not_finished(
    status: str, state: str, attempt: Attempt
) -> None:
    submission = attempt.submit()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    gone = ProcessId(ended.pid, ProcessId.own().created)
    ended.wait()
    attempt.run_folder.update_manifest(server=asdict(gone), status=status)
    assert submission.judge().state == state


def test_until_the_serverapp_has_begun_flower_is_asked(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0)
    submission = attempt.submit()
    assert submission.judge().state == RunState.RUNNING
    attempt.control.word = "finished:failed:no such module"
    found = submission.judge()
    assert found.state == RunState.LOST
    assert "(finished:failed:no such module)" in str(found.cause)


def test_a_serverapp_that_never_begins_is_lost(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = attempt.submit()
    monkeypatch.setattr(module, "START_SECONDS", 0)
    assert submission.judge().state == RunState.LOST


def test_what_is_missing_is_named(attempt: Attempt) -> None:
    (attempt.folder.path / "fedskin-0.0.9.fab").unlink()
    with pytest.raises(
        OperationError, match=f"its bundle {SHA256[:12]} is no longer in .*--resume"
    ):
        attempt.submit()
    (attempt.run_folder.path / "config.toml").unlink()
    with pytest.raises(RunFolderError, match="is not a run folder"):
        attempt.submit()
    assert attempt.control.started == []
