"""A supervised program is restarted when it ends, after its pause, and ended on request."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operation.supervised import Supervised
from tests.runs import wait_until

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def started() -> Iterator[list[Supervised]]:
    """The supervised program of a test, ended afterwards."""
    programs: list[Supervised] = []
    yield programs
    for program in programs:
        program.end()


def supervise(code: str, folder: Path, started: list[Supervised], **options: object) -> Supervised:
    program = Supervised(
        "the program",
        [sys.executable, "-c", code],
        log_path=folder / "log",
        environment=dict(os.environ),
        folder=folder,
        **options,  # type: ignore[arg-type]
    )
    started.append(program)
    return program


def test_it_runs_in_its_folder_and_its_output_is_kept(
    tmp_path: Path, started: list[Supervised]
) -> None:
    program = supervise("import os; print(os.getcwd())", tmp_path, started)
    (tmp_path / "log").write_text("before\n")
    assert not program.running()
    assert program.tend()
    wait_until(lambda: not program.running())
    assert (tmp_path / "log").read_text() == f"before\n{tmp_path}\n"


def test_it_is_left_alone_while_it_runs(tmp_path: Path, started: list[Supervised]) -> None:
    program = supervise(SLEEP, tmp_path, started)
    assert program.pid is None
    program.tend()
    pid = program.pid
    assert pid is not None
    assert not program.tend()
    assert program.pid == pid


def test_it_is_started_again_after_it_was_killed(tmp_path: Path, started: list[Supervised]) -> None:
    program = supervise(SLEEP, tmp_path, started, restart_seconds=0)
    program.tend()
    first = program.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not program.running())
    assert program.pid is None
    assert program.tend()
    assert program.pid not in (None, first)


def test_one_start_follows_another_in_its_rhythm(tmp_path: Path, started: list[Supervised]) -> None:
    program = supervise("pass", tmp_path, started, restart_seconds=0.8)
    begin = time.monotonic()
    program.tend()
    wait_until(lambda: not program.running())
    wait_until(program.tend)
    assert time.monotonic() - begin >= 0.8


def test_after_an_orderly_end_nobody_waits(tmp_path: Path, started: list[Supervised]) -> None:
    program = supervise(SLEEP, tmp_path, started, restart_seconds=3600)
    program.tend()
    program.end()
    assert not program.running()
    assert program.tend()


def test_who_does_not_listen_is_killed(tmp_path: Path, started: list[Supervised]) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)\n" + SLEEP
    program = supervise(deaf, tmp_path, started)
    program.tend()
    wait_until(lambda: (tmp_path / "log").read_text() != "")
    begin = time.monotonic()
    program.end(grace_seconds=0.3)
    assert not program.running()
    assert 0.3 <= time.monotonic() - begin < 5


def test_a_socket_outlives_who_listens_on_it(tmp_path: Path, started: list[Supervised]) -> None:
    """Who connects while a server is started again waits, and is not turned away."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        code = (
            "import socket\n"
            f"listening = socket.socket(fileno={listening.fileno()})\n"
            "listening.accept()[0].sendall(b'hello')\n"
        )
        program = supervise(
            code, tmp_path, started, restart_seconds=0, pass_fds=[listening.fileno()]
        )
        for _ in range(2):
            with socket.create_connection(listening.getsockname(), timeout=20) as connection:
                program.tend()
                assert connection.recv(5) == b"hello"
            wait_until(lambda: not program.running())
