"""A process that is restarted whenever it ends."""

import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from operation.logs import shorten_log

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Supervised:
    """A program that must run all the time; `tend` must be called often.

    Attributes:
        log_path: its output is appended to this file, which is kept short.
        environment: its whole environment.
        restart_seconds: least time from one start to the next. A SuperNode that was killed can
            connect again only when its heartbeat has expired, so it is tried every ten seconds.
        pass_fds: open files that it inherits, such as the sockets it listens on.
    """

    name: str
    command: Sequence[str]
    _: KW_ONLY
    log_path: Path
    environment: Mapping[str, str]
    folder: Path
    restart_seconds: float = 10.0
    pass_fds: Sequence[int] = ()

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._started: float | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.running() else None

    def running(self) -> bool:
        """Return whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def tend(self) -> bool:
        """Start it if it is not running and a restart is due; return whether it was started now."""
        try:
            shorten_log(self.log_path)
        except OSError as error:  # the disk is full: the log was emptied without a copy
            log.warning("%s: %s", self.log_path, error)
        if self.running():
            return False
        if self._process is not None:
            log.warning("%s ended (exit status %s)", self.name, self._process.returncode)
            self._process = None
        if self._started is not None and time.monotonic() < self._started + self.restart_seconds:
            return False
        self._started = time.monotonic()
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=self.pass_fds,
            )
        log.info("%s started (process %d)", self.name, self._process.pid)
        return True

    def end(self, grace_seconds: float = 10.0) -> None:
        """Terminate it, and kill it if it still runs after ``grace_seconds``."""
        process, self._process, self._started = self._process, None, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.info("%s was ended", self.name)
