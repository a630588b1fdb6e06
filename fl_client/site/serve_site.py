"""Serving a site: its SuperNode and the process that starts the app, under supervision."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from fl_client.site.diagnosis import (
    clock_fault,
    connection_fault,
    local_fault,
    refused_by_coordinator,
)
from fl_client.site.keys import load_key
from fl_client.site.policy import read_policy
from fl_client.site.site_folder import SiteFolder
from operation.environment import REUSE_FREED_PIECES, flower_environment, free_port
from operation.files import write_text
from operation.logs import log_file
from operation.processes import end_processes
from operation.serving import serve_folder
from operation.supervised import Supervised

log = logging.getLogger(__name__)

# Not by ``-m``: a fork would import its parent's main module, and with it this package.
SUPEREXEC = "from fl_client.site.superexec import main; main()"

# Seconds since the last answer of the coordinator: a SuperNode polls every half second, but not
# while the app works.
_CONTACT_SECONDS = 30.0
# A killed SuperNode is regarded as online for up to 60 seconds, and its successor is refused.
_ADMITTED_SECONDS = 120.0
_LOOK_SECONDS = 1.0
_DIAGNOSE_SECONDS = 10.0


def serve_site(site: SiteFolder) -> None:
    """Serve a site until SIGTERM or Ctrl-C; all its processes end with this one.

    Raises:
        OperationError: another process serves it, or its settings, policy or key are damaged.
    """
    settings = site.settings()
    read_policy(site.policy)
    load_key(site.key)
    stop = threading.Event()
    with serve_folder(site.path) as (token, home):
        before = {
            number: signal.signal(number, lambda *_: stop.set())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            site.contact.unlink(missing_ok=True)
            log.info("site %s serves; its coordinator is %s", settings.name, settings.address)
            _Site(site, token, flower_environment(home, token)).run(stop)
            log.info("site %s has stopped", settings.name)
        finally:
            site.state.unlink(missing_ok=True)
            for number, handler in before.items():
                signal.signal(number, handler)


class _Site:
    """A site's two processes. The second starts those of the app."""

    def __init__(self, site: SiteFolder, token: str, environment: Mapping[str, str]) -> None:
        self._site = site
        self._settings = site.settings()
        self._token = token
        self._said = ""
        self._refused_since: float | None = None
        self._touched: int | None = None
        self._heard = 0.0
        port = free_port()
        self._supernode_log = site.logs / "supernode.log"
        self._read_to = self._supernode_log.stat().st_size if self._supernode_log.exists() else 0
        self._supernode = Supervised(
            "supernode",
            [sys.executable, "-m", "fl_client.site.supernode", str(site.path), str(port)],
            log_path=self._supernode_log,
            environment={**environment, **REUSE_FREED_PIECES},
            folder=site.path,
        )
        self._superexec = Supervised(
            "superexec",
            [
                *(sys.executable, "-c", SUPEREXEC, str(port), str(site.secret)),
                # It hides its environment, and so the token, from everyone but root.
                str(os.getpid()),
            ],
            log_path=site.logs / "superexec.log",
            environment={
                **environment,
                **REUSE_FREED_PIECES,
                "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            },
            folder=site.path,
            restart_seconds=1.0,
        )

    def run(self, stop: threading.Event) -> None:
        diagnosed = 0.0
        while not stop.wait(_LOOK_SECONDS):
            if self._site.paused.exists():
                self._end()
                self._say("paused; resume with  fedskin site resume")
                continue
            try:
                self._tend()
                if time.monotonic() >= diagnosed + _DIAGNOSE_SECONDS or self._said == "":
                    diagnosed = time.monotonic()
                    self._say(self._diagnosis())
            except OSError as error:
                # A person can repair it while this process runs: free disk space, restore a file.
                self._say(str(error))
        self._end()

    def _tend(self) -> None:
        if self._supernode.running():
            if self._site.contact.exists():  # earlier, there is no work for an app
                self._superexec.tend()
            return
        # The app may still work for the ended SuperNode; its answer would be lost.
        end_processes(self._token)
        self._site.contact.unlink(missing_ok=True)
        self._supernode.tend()

    def _end(self) -> None:
        self._supernode.end()
        self._superexec.end()
        end_processes(self._token)

    def _diagnosis(self) -> str:
        if fault := local_fault(self._site, self._settings):
            return fault
        silent = self._seconds_silent()
        fresh = silent is not None and silent <= _CONTACT_SECONDS
        if not fresh and (fault := connection_fault(self._settings, self._site.ca)):
            return fault
        if silent is not None:
            self._refused_since = None
            return "connected to the coordinator"
        if refused_by_coordinator(self._news()):
            self._refused_since = self._refused_since or time.monotonic()
        if self._refused_since is None:
            return clock_fault(self._settings, self._site.ca) or "connecting"
        if time.monotonic() < self._refused_since + _ADMITTED_SECONDS:
            return "the coordinator does not let this site in yet; trying again"
        return (
            f"the coordinator does not know the key of site {self._settings.name}, or has revoked "
            f"it; have it admitted with  fedskin coordinator admit  and {self._settings.name}.pub"
        )

    def _seconds_silent(self) -> float | None:
        """Return seconds since the coordinator's last answer; None if none since the SuperNode
        started.
        """
        try:
            touched = self._site.contact.stat().st_mtime_ns
        except FileNotFoundError:
            self._touched = None
            return None
        # Only the change counts, not the time: the clock may be set at any time.
        if touched != self._touched:
            self._touched, self._heard = touched, time.monotonic()
        return time.monotonic() - self._heard

    def _news(self) -> str:
        """Return the SuperNode's output since the last call."""
        if not self._supernode_log.exists():
            return ""
        if self._supernode_log.stat().st_size < self._read_to:  # the log was started again
            self._read_to = 0
        with self._supernode_log.open("rb") as file:
            file.seek(self._read_to)
            said = file.read()
        self._read_to += len(said)
        return said.decode("utf-8", errors="replace")

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            log.info("%s", line)
            try:
                write_text(self._site.state, line)
            except OSError as error:  # a full disk must not end this process
                log.warning("%s", error)


def set_up_log(path: Path) -> None:
    """Write the log to the terminal and to the end of a file."""
    handlers = (logging.StreamHandler(), log_file(path))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers, force=True
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
