"""The processes of a run, found and ended by a token in their environment.

Flower's and Ray's daemons start their own sessions, and some outlive the process that started them,
so neither a process group nor a parent's death reaches them all. But they all inherit the
environment, so every process of a run has the run's token there.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

TOKEN = "FEDSKIN_RUN_TOKEN"
TOKEN_LENGTH = 32  # hex digits

# For so long it is tried to end processes that may start others meanwhile.
_ENDING_SECONDS = 10.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux


@dataclass(frozen=True)
class ProcessId:
    """A process; its creation time distinguishes it from a later one with the same id.

    Attributes:
        created: ``<boot id>:<clock ticks since the boot>`` on Linux, because a time of day would
            change when the clock is set; elsewhere seconds since 1970.
    """

    pid: int
    created: str

    @classmethod
    def own(cls) -> "ProcessId":
        """Return that of this process."""
        return cls(os.getpid(), _created(os.getpid()))

    def alive(self) -> bool:
        """Return whether this same process still runs."""
        try:
            if _created(self.pid) != self.created:
                return False
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return False

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end; a killed process takes a moment to give back its memory."""
        end = time.monotonic() + seconds
        while alive := self.alive():
            if time.monotonic() >= end:
                break
            time.sleep(0.02)
        return not alive


def _created(pid: int) -> str:
    if not _BOOT_ID.exists():
        return str(psutil.Process(pid).create_time())
    # Field 22 of proc(5)'s stat, counted after the name (field 2), which may contain spaces.
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    ticks = stat.rpartition(")")[2].split()[22 - 3]
    return f"{_BOOT_ID.read_text(encoding='ascii').strip()}:{ticks}"


def processes_of(token: str) -> list[psutil.Process]:
    """Return the running processes that have the token, except this one."""
    if not token:  # an empty token from a damaged manifest must match no process
        return []
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(TOKEN) == token:
                found.append(process)
        except (psutil.Error, OSError):  # ended by now, a zombie, or another user's
            continue
    return found


def end_processes(token: str, *, spared: Collection[int] = ()) -> None:
    """Kill every process that has the token, and any that these start in the meantime.

    Args:
        spared: ids of processes that are not killed.
    """
    deadline = time.monotonic() + _ENDING_SECONDS
    while time.monotonic() < deadline:
        processes = [process for process in processes_of(token) if process.pid not in spared]
        if not processes:
            return
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(processes, timeout=1)


def mark_this_process(name: str) -> None:
    """Let the system show a fork under a name, and with the token that is in `os.environ`.

    It shows the command and the environment that a program was started with, where they stand in
    the program's own memory; in a fork that is a copy of its parent's, which is overwritten here.

    Args:
        name: is cut off if the parent's command was shorter.
    """
    stat = Path("/proc/self/stat")
    if not stat.exists():  # not Linux
        return
    # Fields 48 to 51 of proc(5)'s stat, counted after the name (field 2).
    fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    command, command_end, variables, variables_end = map(int, fields[48 - 3 : 52 - 3])
    size = command_end - command
    ctypes.memmove(command, name.encode()[: size - 1].ljust(size, b"\0"), size)
    before, found, _ = ctypes.string_at(variables, variables_end - variables).partition(
        f"{TOKEN}=".encode()
    )
    if found:
        token = os.environ.get(TOKEN, "").encode()[:TOKEN_LENGTH].ljust(TOKEN_LENGTH, b"\0")
        ctypes.memmove(variables + len(before) + len(found), token, TOKEN_LENGTH)


def start_watchdog(token: str, home: Path) -> subprocess.Popen[bytes]:
    """Start a process that ends the run's processes as soon as this process has ended.

    It also removes ``home``, the temporary folder that they share. It runs in its own session,
    without the token, and reads a pipe that only this process holds open: when this process, or
    its whole group, is killed, the pipe closes.
    """
    environment = {key: value for key, value in os.environ.items() if key != TOKEN}
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "operation.processes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    assert watchdog.stdin is not None
    # Not as arguments, which every user of this machine may read.
    watchdog.stdin.write(f"{token}\n{home}\n".encode())
    watchdog.stdin.flush()
    return watchdog


@contextmanager
def own_processes(token: str) -> Iterator[Path]:
    """Yield a temporary folder for processes that will have the token.

    At the end of the ``with`` block, or when this process dies in any way, they are ended and
    the folder is removed. Its name is short, because Ray's sockets need a short path.
    """
    home = Path(tempfile.mkdtemp(prefix="fedskin-", dir="/tmp" if os.name == "posix" else None))
    watchdog = start_watchdog(token, home)
    try:
        yield home
    finally:
        end_processes(token)
        shutil.rmtree(home, ignore_errors=True)
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        watchdog.wait()


if __name__ == "__main__":
    _token, _home = (sys.stdin.buffer.readline().decode().rstrip("\n") for _ in range(2))
    # Not a child of what it watches: Ray kills the children of a process of its own that ends, but
    # not their children, among which are the processes of a trial.
    if os.fork():
        os._exit(0)
    sys.stdin.buffer.read()
    end_processes(_token)
    if _home:  # empty if the starter ended before it had written the arguments
        shutil.rmtree(_home, ignore_errors=True)
