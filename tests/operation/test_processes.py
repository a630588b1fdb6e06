"""Processes are found by their token, in whatever session, and end with their starter."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from operation.processes import (
    TOKEN,
    ProcessId,
    _created,
    end_processes,
    processes_of,
    start_watchdog,
)
from tests.runs import wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def new_token() -> str:
    return f"test-{os.getpid()}-{time.time_ns()}"


def test_a_process_in_a_session_of_its_own_is_found_and_ended() -> None:
    token = new_token()
    child = subprocess.Popen(SLEEP, env={**os.environ, TOKEN: token}, start_new_session=True)
    other = subprocess.Popen(SLEEP, env={**os.environ, TOKEN: new_token()})
    try:
        wait_until(lambda: [p.pid for p in processes_of(token)] == [child.pid])
        end_processes(token)
        assert not psutil.pid_exists(child.pid)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_no_token_is_nobodys() -> None:
    """Otherwise a damaged manifest would end every process of the user."""
    assert processes_of("") == []
    assert processes_of(None) == []  # type: ignore[arg-type]


def test_a_process_is_told_apart_from_a_later_one_of_its_number() -> None:
    own = ProcessId.own()
    assert own.alive()
    later = subprocess.Popen(SLEEP)
    try:
        assert not ProcessId(later.pid, own.created).alive()
    finally:
        later.kill()
        later.wait()


def test_a_process_that_ended_is_not_alive_even_before_its_parent_asks() -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from operation.processes import ProcessId; print(ProcessId.own().created)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    process = ProcessId(child.pid, child.stdout.read().strip())
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not process.alive()
    child.communicate()
    assert not process.alive()


def test_a_process_that_ends_is_waited_for() -> None:
    assert not ProcessId.own().ends_within(0)
    with subprocess.Popen(SLEEP) as child:
        process = ProcessId(child.pid, _created(child.pid))
        assert not process.ends_within(0.1)
        threading.Timer(0.2, child.kill).start()
        assert process.ends_within(10)


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere psutil's time of creation is taken")
def test_a_process_is_the_same_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux keeps when it booted as the time of day, less how long it has been up."""
    own, created = ProcessId.own(), psutil.Process().create_time()
    booted = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted - 3600)
    assert psutil.Process().create_time() == pytest.approx(created - 3600, abs=1)
    assert own.alive()
    assert ProcessId.own() == own


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere psutil's time of creation is taken")
def test_a_process_of_another_boot_is_not_alive() -> None:
    own = ProcessId.own()
    _, ticks = own.created.split(":")
    assert not ProcessId(own.pid, f"another-boot:{ticks}").alive()


def test_elsewhere_than_on_linux_the_time_of_creation_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operation.processes._BOOT_ID", tmp_path / "none")
    own = ProcessId.own()
    assert own == ProcessId(os.getpid(), str(psutil.Process().create_time()))
    assert own.alive()
    assert not ProcessId(own.pid, str(float(own.created) - 100)).alive()


def test_watchdog_ends_everything_when_the_starter_is_killed(tmp_path: Path) -> None:
    token, home = new_token(), tmp_path / "home"
    home.mkdir()
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys, time\n"
            "from pathlib import Path\n"
            "from operation.processes import TOKEN, start_watchdog\n"
            f"watchdog = start_watchdog({token!r}, Path({str(home)!r}))\n"
            f"child = subprocess.Popen({SLEEP!r}, env={{**os.environ, TOKEN: {token!r}}},"
            " start_new_session=True)\n"
            "time.sleep(60)\n",
        ],
        start_new_session=True,
    )
    wait_until(lambda: len(processes_of(token)) == 1)
    [child] = processes_of(token)
    os.killpg(starter.pid, 9)
    starter.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    wait_until(lambda: not home.exists())


def test_watchdog_outlives_a_starter_that_kills_its_children(tmp_path: Path) -> None:
    """As a process of Ray does when it ends; what it watches may be a child of a child."""
    token, home = new_token(), tmp_path / "home"
    home.mkdir()
    between = (
        "import os, subprocess, time\n"
        "from operation.processes import TOKEN\n"
        f"subprocess.Popen({SLEEP!r}, env={{**os.environ, TOKEN: {token!r}}})\n"
        "time.sleep(60)\n"
    )
    starter = (
        "import os, psutil, subprocess, sys\n"
        "from pathlib import Path\n"
        "from operation.processes import processes_of, start_watchdog\n"
        f"watchdog = start_watchdog({token!r}, Path({str(home)!r}))\n"
        f"child = subprocess.Popen([sys.executable, '-c', {between!r}])\n"
        f"while not processes_of({token!r}):\n"
        "    pass\n"
        "watchdog.wait()\n"
        "for process in psutil.Process().children():\n"
        "    process.kill()\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", starter], check=True, timeout=60)
    wait_until(lambda: not processes_of(token))
    wait_until(lambda: not home.exists())


def test_the_token_is_not_in_the_list_of_processes(tmp_path: Path) -> None:
    """Every user of the machine may read the arguments of all processes."""
    token = new_token()
    watchdog = start_watchdog(token, tmp_path / "home")
    assert watchdog.stdin is not None
    try:
        assert watchdog.wait(30) == 0, "what watches is its child"
        (watching,) = (p for p in psutil.process_iter() if os.getsid(p.pid) == watchdog.pid)
        words = watching.cmdline()
        assert "operation.processes" in words
        assert not any(token in word for word in words)
    finally:
        watchdog.stdin.close()
    wait_until(lambda: not watching.is_running())
