"""A coordinator and three hospitals on this machine, started by the command line as users do."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType

import psutil

from operation.environment import free_port
from operation.serving import serving

NAMES = ("hospital-a", "hospital-b", "hospital-c")
FORK_SERVER, FORK = "a site's fork server", "a site's app"
# The processes that are killed in the middle of a round, by the machine they belong to and a part
# of what `command` returns for them; a supervisor is the process that serves the folder.
VICTIMS = (
    ("coordinator", "fl_server.coordinator.superlink"),
    ("coordinator", "flower-superexec"),
    ("coordinator", "flwr-serverapp"),
    ("coordinator", "coordinator serve"),
    ("hospital-b", "fl_client.site.supernode"),
    ("hospital-b", "fl_client.site.superexec"),
    ("hospital-b", FORK_SERVER),
    ("hospital-b", FORK),
    ("hospital-b", "site serve"),
)

_START_SECONDS = 60.0


class Hospitals:
    """A federation that runs until the end of the ``with`` block.

    Each site has a shard of one release, and its policy allows the smallest possible one. A
    simulation with as many clients and the same images, seed and threads computes the same.

    Args:
        folder: for all files; must be empty.
        data: a release of HAM10000; each hospital has a shard of it.
        names: names of the hospitals.
        host: name or address of the coordinator.
        where: prefix for the commands that serve, by name of the hospital or ``coordinator``, for
            example to run them in a network namespace.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        names: tuple[str, ...] = NAMES,
        *,
        host: str = "127.0.0.1",
        where: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.coordinator = folder / "coordinator"
        self.names = names
        self._data = data
        self._host = host
        self._where = where
        self._serving: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Hospitals":
        where = str(self.coordinator)
        listen = ("--host", self._host, "--bind", self._host, "--port", str(free_port()))
        self.fedskin("coordinator", "init", where, *listen)
        self.fedskin("coordinator", "bundle", where)
        (bundle,) = self.coordinator.glob("*.fab")
        for number, name in enumerate(self.names, start=1):
            site = str(self.folder / name)
            self.fedskin(
                *("site", "init", site, "--name", name, "--data", str(self._data)),
                *("--invitation", f"{where}/invitation", "--shard", f"{number}/{len(self.names)}"),
            )
            policy = self.folder / name / "policy.toml"
            few = re.sub("min-examples = .*", "min-examples = 1", policy.read_text("utf-8"))
            policy.write_text(few, encoding="utf-8")
            public_key = str(self.folder / name / f"{name}.pub")
            self.fedskin("coordinator", "admit", where, public_key, "--name", name)
            self.fedskin("site", "approve", site, str(bundle), "--yes")
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _begin(self) -> None:
        self.tend()
        deadline = time.monotonic() + _START_SECONDS
        while serving(self.coordinator) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(self.output("coordinator").read_text(encoding="utf-8"))
            time.sleep(0.1)

    def _end(self) -> None:
        for process in self._serving.values():
            process.send_signal(signal.SIGTERM)
        for process in self._serving.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()  # its watchdog ends its child processes
                process.wait()

    def tend(self) -> None:
        """Start every service that is not running, as a machine's init system would."""
        for name in ("coordinator", *self.names):
            process = self._serving.get(name)
            if process is None or process.poll() is not None:
                kind = "coordinator" if name == "coordinator" else "site"
                self._serving[name] = self.start(name, kind, "serve", str(self.folder / name))

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of fedskin; its output goes to ``<name>.output``."""
        with self.output(name).open("ab") as output:
            return subprocess.Popen(
                [*self._where.get(name, ()), sys.executable, "-m", "experiments.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def output(self, name: str) -> Path:
        """Return the path of a command's output."""
        return self.folder / f"{name}.output"

    def fedskin(self, *arguments: str) -> str:
        """Run a command of fedskin to its end and return what it printed.

        Raises:
            RuntimeError: it failed; contains its output.
        """
        command = [sys.executable, "-m", "experiments.cli", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the process that serves the coordinator or a hospital, and all its child
        processes.
        """
        try:
            supervisor = psutil.Process(self._serving[name].pid)
            return [supervisor, *supervisor.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self, name: str, part: str) -> bool:
        """Kill the first such process with -9; return whether there was one."""
        for process in self.processes(name):
            try:
                if part in command(process):
                    process.kill()
                    return True
            except psutil.NoSuchProcess:
                continue
        return False


def command(process: psutil.Process) -> str:
    """Return a process's command line; a site's app is recognised, though it has its fork server's.

    Raises:
        psutil.Error: the process has ended.
    """
    said = " ".join(process.cmdline())
    if "multiprocessing.forkserver" not in said:
        return said
    parent = process.parent()
    forked = parent is not None and "multiprocessing.forkserver" in " ".join(parent.cmdline())
    return FORK if forked else FORK_SERVER
