"""Processes from a fork server: they start from one state, and are as others to who starts them."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from operation.fork_server import Forked, ForkServerError, fork, prepare, start_fork_server
from operation.processes import TOKEN, own_processes, processes_of
from tests.runs import wait_until

ROOT = Path(__file__).parents[2]
STARTED, OTHER, ALONE = "a" * 32, "b" * 32, "c" * 32

counted = 0


def say() -> None:
    """What a fork sees of itself."""
    global counted
    counted += 1
    print(sys.argv[1:], os.environ.get("SAID"), Path.cwd(), counted)


def fail() -> int:
    return 3


def sleep() -> None:
    time.sleep(60)


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    with own_processes(STARTED) as home:
        path = home / "socket"
        environment = {**os.environ, TOKEN: STARTED, "PYTHONPATH": str(ROOT)}
        start_fork_server(path, environment, home / "log")
        yield path


def start(server: Path, name: str, output: Path, *words: str, **variables: str) -> Forked:
    return fork(
        server,
        f"{__name__}:{name}",
        words,
        environment={**os.environ, **variables},
        folder=output.parent,
        output=output,
    )


def test_a_fork_has_what_was_asked_for_and_nothing_of_the_one_before(
    server: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    for word in ("one", "two"):
        assert start(server, "say", output, word, SAID="yes" * (word == "one")).wait() == 0
    assert output.read_text().splitlines() == [
        f"['one'] yes {tmp_path} 1",
        f"['two']  {tmp_path} 1",
    ]


def test_exit_statuses_are_those_of_popen(server: Path, tmp_path: Path) -> None:
    assert start(server, "fail", tmp_path / "output").wait() == 3
    sleeping = start(server, "sleep", tmp_path / "output")
    assert sleeping.poll() is None
    sleeping.kill()
    assert sleeping.wait() == sleeping.poll() == -signal.SIGKILL
    sleeping.kill()


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere a fork is shown as its parent")
def test_a_fork_is_found_by_its_own_token_and_name(server: Path, tmp_path: Path) -> None:
    sleeping = start(server, "sleep", tmp_path / "output", **{TOKEN: OTHER})
    process = psutil.Process(sleeping.pid)
    while process not in processes_of(OTHER):
        assert sleeping.poll() is None
    assert process not in processes_of(STARTED)
    assert process.cmdline()[0].startswith("tests.operation.test")
    assert os.getsid(process.pid) == process.pid
    sleeping.kill()


def test_who_asked_may_end_before_the_fork_does(server: Path, tmp_path: Path) -> None:
    start(server, "fail", tmp_path / "output")._connection.close()
    assert start(server, "fail", tmp_path / "output").wait() == 3


def test_the_end_of_a_fork_server_is_noticed(tmp_path: Path) -> None:
    with own_processes(OTHER) as home:
        path = home / "socket"
        environment = {**os.environ, TOKEN: OTHER, "PYTHONPATH": str(ROOT)}
        server = start_fork_server(path, environment, home / "log")
        sleeping = start(path, "sleep", tmp_path / "output", **{TOKEN: ALONE})
        pid = sleeping.pid
        server.kill()
        with pytest.raises(ForkServerError, match="ended"):
            sleeping.wait()
        with pytest.raises(ForkServerError):
            start(path, "sleep", tmp_path / "output").wait()
        if psutil.LINUX:
            wait_until(lambda: not processes_of(ALONE))
        else:
            os.kill(pid, signal.SIGKILL)


def test_what_cannot_be_imported_is_said_by_who_needs_it(server: Path, tmp_path: Path) -> None:
    prepare(server, ["a module that is not there"])
    output = tmp_path / "output"
    asked = fork(server, "not_there:main", environment={}, folder=tmp_path, output=output)
    assert asked.wait() == 1
    assert "No module named 'not_there'" in output.read_text()
    assert start(server, "fail", output).wait() == 3, "the fork server goes on"


def test_half_a_request_disturbs_nobody(server: Path, tmp_path: Path) -> None:
    for half in (b"", b'{"modules": ["json"'):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server))
            connection.sendall(half)
    assert start(server, "fail", tmp_path / "output").wait() == 3
