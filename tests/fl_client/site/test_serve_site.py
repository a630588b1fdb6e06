"""Serving a site, with its real processes."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from fl_client.site import serve_site as serve_module
from fl_client.site.serve_site import serve_site
from fl_client.site.site_folder import SiteFolder
from operation.environment import free_port, script
from operation.errors import OperationError
from operation.processes import processes_of
from operation.serving import serve_folder, serving
from operation.supervised import Supervised
from tests.fl_client.site.sites import make_site


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_one_process_serves_a_folder(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with (
        serve_folder(site.path),
        pytest.raises(OperationError, match=f"{os.getpid()} already serves it"),
    ):
        serve_site(site)


@pytest.mark.parametrize("damaged", ["policy.toml", "site.key", "site.toml"])
def test_nothing_starts_with_a_damaged_file(tmp_path: Path, damaged: str) -> None:
    site = make_site(tmp_path)
    (site.path / damaged).write_text("damaged")
    with pytest.raises(OperationError, match=damaged):
        serve_site(site)
    assert serving(site.path) is None


class Stub(serve_module._Site):
    """A site whose processes are programs that only wait."""

    def __init__(self, site: SiteFolder) -> None:
        super().__init__(site, "", dict(os.environ))
        self._supernode, self._superexec = (
            Supervised(
                name,
                [sys.executable, "-c", "import time; time.sleep(60)"],
                log_path=site.logs / f"{name}.log",
                environment=os.environ,
                folder=site.path,
            )
            for name in ("supernode", "superexec")
        )


@contextmanager
def running(served: Stub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve in a thread, which looks often."""
    monkeypatch.setattr(serve_module, "_LOOK_SECONDS", 0.05)
    stop = threading.Event()
    thread = threading.Thread(target=served.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_pause_ends_the_processes_and_resume_starts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path, address=f"127.0.0.1:{free_port()}")
    served = Stub(site)
    served._supernode.tend()
    site.contact.touch()
    with running(served, monkeypatch):
        wait_for(lambda: served._superexec.pid)
        first = served._supernode.pid
        assert first is not None
        site.paused.touch()
        wait_for(lambda: site.state.exists() and "paused" in site.state.read_text())
        assert not psutil.pid_exists(first)
        assert served._superexec.pid is None
        site.paused.unlink()
        wait_for(lambda: served._supernode.pid not in (None, first))
        assert served._superexec.pid is None  # not before the coordinator has answered
    assert served._supernode.pid is None


def test_a_full_disk_is_told_and_does_not_end_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path, address=f"127.0.0.1:{free_port()}")
    served = Stub(site)
    tend, full = served._tend, threading.Event()

    def tend_unless_full() -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        tend()

    monkeypatch.setattr(served, "_tend", tend_unless_full)
    full.set()
    with running(served, monkeypatch):
        wait_for(lambda: site.state.exists() and "No space left" in site.state.read_text())
        assert served._supernode.pid is None
        full.clear()
        wait_for(lambda: served._supernode.pid)
        wait_for(lambda: "No space left" not in site.state.read_text())


def diagnosed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None) -> Stub:
    monkeypatch.setattr(serve_module, "connection_fault", lambda *_: fault)
    return Stub(make_site(tmp_path))


def test_a_site_is_connected_while_the_app_works_and_asks_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = diagnosed(tmp_path, monkeypatch, None)
    monkeypatch.setattr(serve_module, "clock_fault", lambda *_: "its clock is wrong")
    assert served._diagnosis() == "its clock is wrong"
    monkeypatch.setattr(serve_module, "clock_fault", lambda *_: None)
    assert served._diagnosis() == "connecting"
    served._site.contact.touch()
    assert served._diagnosis() == "connected to the coordinator"
    later(monkeypatch, 3600.0)
    assert served._diagnosis() == "connected to the coordinator"


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass."""
    now = time.monotonic() + seconds
    monkeypatch.setattr(serve_module.time, "monotonic", lambda: now)


@pytest.mark.parametrize("clock", [-7200, 0, 7200])
def test_a_coordinator_that_went_away_is_named_though_it_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: int
) -> None:
    """However the machine's clock was set when it last answered."""
    served = diagnosed(tmp_path, monkeypatch, "it is not reachable")
    served._site.contact.touch()
    os.utime(served._site.contact, (time.time() + clock, time.time() + clock))
    assert served._diagnosis() == "connected to the coordinator"  # it has just answered
    later(monkeypatch, 25.0)
    assert served._diagnosis() == "connected to the coordinator"
    later(monkeypatch, 10.0)
    assert served._diagnosis() == "it is not reachable"


def test_a_key_counts_as_not_admitted_only_when_no_heartbeat_can_be_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed SuperNode's successor is refused for up to a minute, with the same words."""
    served = diagnosed(tmp_path, monkeypatch, None)
    (served._site.logs / "supernode.log").write_text("Exit Code: 305\n[code: 2004] no\n")
    assert "does not let this site in yet" in served._diagnosis()
    monkeypatch.setattr(serve_module, "_ADMITTED_SECONDS", 0.0)
    assert "have it admitted with  fedskin coordinator admit" in served._diagnosis()
    served._site.contact.touch()
    assert served._diagnosis() == "connected to the coordinator"


@pytest.mark.slow
def test_kill_9_takes_all_processes_along_and_sigterm_ends_in_order(tmp_path: Path) -> None:
    site = make_site(tmp_path, address=f"127.0.0.1:{free_port()}")
    for ending, status in [(signal.SIGKILL, -9), (signal.SIGTERM, 0)]:
        process = subprocess.Popen([script("fedskin"), "site", "serve", site.path])
        wait_for(lambda: serving(site.path))
        found = serving(site.path)
        assert found is not None
        token = found.token
        wait_for(lambda token=token: len(processes_of(token)) >= 1)
        wait_for(lambda: "not reachable" in site.state.read_text() if site.state.exists() else "")
        process.send_signal(ending)
        assert process.wait(30) == status
        wait_for(lambda token=token: not processes_of(token))
        site.state.unlink(missing_ok=True)
