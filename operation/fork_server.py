"""Processes that start in milliseconds: forks of one process that has imported their libraries.

Importing torch, torchvision and Flower takes four seconds of a core, and a simulation has six
processes that need them. So one process, the fork server, imports them once. It answers requests on
a Unix socket: import these modules, or call this function in a new process, which is a fork. It
never calls anything itself, so that every fork starts from the same state.

What must not be imported there: what reads the environment while it is imported, such as Ray, and
what starts threads.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# The variable with the path of a fork server's socket: the processes that have it use that one.
FORK_SERVER = "FEDSKIN_FORK_SERVER"

_PARENT_ENDS = 1  # PR_SET_PDEATHSIG of prctl(2)


class ForkServerError(RuntimeError):
    """The fork server has ended."""


class Forked:
    """A process that was asked for; its methods are those of `subprocess.Popen`.

    Raises:
        ForkServerError: in every method, if the fork server has ended.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._said = b""
        self._pid: int | None = None
        self._status: int | None = None

    @property
    def pid(self) -> int:
        """Its process id; waits until it has started."""
        while self._pid is None:
            self._listen(None)
        return self._pid

    def poll(self) -> int | None:
        """Return its exit status, None while it runs; negative for a signal."""
        return self.wait(0)

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status as soon as it has ended; None if it runs after so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        while self._status is None:
            if not self._listen(None if end is None else max(0.0, end - time.monotonic())):
                break
        return self._status

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _listen(self, seconds: float | None) -> bool:
        """Read a number that the fork server sends: first the id, at the end the status."""
        if b"\n" not in self._said:
            if not select.select([self._connection], [], [], seconds)[0]:
                return False
            try:
                received = self._connection.recv(64)
            except ConnectionResetError:
                received = b""
            if not received:
                raise ForkServerError("the fork server ended unexpectedly")
            self._said += received
        line, end, rest = self._said.partition(b"\n")
        if end and self._pid is None:
            self._pid, self._said = int(line), rest
        elif end:
            self._status, self._said = int(line), rest
            self._connection.close()
        return True


def start_fork_server(
    path: Path, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a fork server and return its process; it runs until it is killed.

    Args:
        path: of its socket, which is there when this returns; at most 107 bytes.
        environment: its environment; a fork gets that of its request.
        log: its output is appended to this file.
    """
    with socket.socket(socket.AF_UNIX) as listener, log.open("ab") as output:
        listener.bind(str(path))
        listener.listen(socket.SOMAXCONN)
        return subprocess.Popen(
            [sys.executable, "-m", "operation.fork_server"],
            stdin=listener.fileno(),
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=path.parent,
            start_new_session=True,
        )


def prepare(server: Path, modules: Sequence[str]) -> None:
    """Let a fork server import modules in this order, as soon as nothing else is asked of it."""
    _ask(server, {"modules": modules}).close()


def fork(
    server: Path,
    function: str,
    arguments: Sequence[str] = (),
    *,
    modules: Sequence[str] = (),
    environment: Mapping[str, str],
    folder: Path,
    output: Path,
) -> Forked:
    """Start a process, in a session of its own; this does not wait until it has started.

    Args:
        server: path of the fork server's socket.
        function: ``module:name`` of a function without arguments.
        arguments: `sys.argv` from its second word on.
        modules: are imported before.
        environment: its whole environment.
        folder: its working directory.
        output: what it writes is appended to this file.

    Raises:
        ForkServerError: there is no fork server.
    """
    request = {
        "modules": [*modules, function.partition(":")[0]],
        "function": function,
        "arguments": list(arguments),
        "environment": dict(environment),
        "path": sys.path,
        "folder": str(folder),
        "output": str(output),
    }
    return Forked(_ask(server, request))


def _ask(server: Path, request: Mapping[str, Any]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(server))
        connection.sendall(json.dumps(request).encode() + b"\n")
    except OSError as error:
        connection.close()
        raise ForkServerError(f"the fork server does not answer: {error.strerror}") from None
    return connection


def _import(module: str) -> None:
    with suppress(Exception):  # the fork that needs it says why it cannot be, in its own log
        importlib.import_module(module)


class _Server:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        # A signal that a fork has ended becomes a byte in this pipe, which ends the waiting.
        self._ended, self._wake = os.pipe()
        for end in (self._ended, self._wake):
            os.set_blocking(end, False)
        self._selector.register(self._ended, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._forks: dict[int, socket.socket] = {}
        self._modules: deque[str] = deque()

    def serve(self) -> Callable[[], int | None]:
        """Answer requests for ever. In a fork, return the function that it is to call."""
        while True:
            for key, _ in self._selector.select(0 if self._modules else None):
                if key.fileobj is self._listener:
                    function = self._answer(self._listener.accept()[0])
                    if function is not None:
                        return function
                else:
                    os.read(self._ended, 4096)
                    self._reap()
            if self._modules:
                _import(self._modules.popleft())

    def _answer(self, connection: socket.socket) -> Callable[[], int | None] | None:
        # Imported here and below: who only asks, as each of Ray's workers does, need not wait.
        from operation.files import parse_json

        with connection.makefile("rb") as file:
            line = file.readline()
        # An incomplete line is of somebody who has ended.
        request = parse_json(line) if line.endswith(b"\n") else {"modules": ()}
        if "function" not in request:
            self._modules.extend(request["modules"])
            connection.close()
            return None
        for module in request["modules"]:
            _import(module)
        gc.freeze()  # what is here now is never freed, so that the forks share its memory
        pid = os.fork()
        if pid == 0:
            connection.close()
            return self._become(request)
        self._forks[pid] = connection
        self._tell(pid, pid)
        return None

    def _become(self, request: Mapping[str, Any]) -> Callable[[], int | None]:
        """Turn this fork into the process that was asked for."""
        from operation.processes import mark_this_process

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        self._listener.close()
        os.close(self._ended)
        os.close(self._wake)
        for connection in self._forks.values():
            connection.close()
        os.setsid()
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PARENT_ENDS, signal.SIGKILL)  # none outlives the fork server
        output = os.open(request["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        os.chdir(request["folder"])
        tempfile.tempdir = None  # it depends on the environment
        os.environ.clear()
        os.environ.update(request["environment"])
        mark_this_process(request["function"])
        module, _, name = request["function"].partition(":")
        sys.argv = [module, *request["arguments"]]
        sys.path[:] = request["path"]
        gc.enable()
        function: Callable[[], int | None] = getattr(importlib.import_module(module), name)
        return function

    def _reap(self) -> None:
        while self._forks:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in self._forks:  # otherwise a child of a library
                self._tell(pid, os.waitstatus_to_exitcode(status))
                self._forks.pop(pid).close()

    def _tell(self, pid: int, number: int) -> None:
        with suppress(OSError):  # who asked for it has ended, or does not want to know
            self._forks[pid].sendall(f"{number}\n".encode())


def main() -> None:
    """Serve the socket that is this process's standard input; in a fork, call its function."""
    gc.disable()  # nothing that is imported becomes garbage, and looking for it takes time
    listener = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    function = _Server(listener).serve()
    try:
        status = function() or 0
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        status = end.code or 0
    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        # Python would take half a second to free every module, and copy their memory for it.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
