"""One process that serves a folder, with all processes it starts."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from operation.errors import OperationError
from operation.files import read_json, read_record, write_json
from operation.processes import ProcessId, end_processes, own_processes

FILE = "serving.json"


@dataclass(frozen=True)
class Serving:
    """The process that serves a folder."""

    process: ProcessId
    token: str  # the token of every process that it started


@contextmanager
def serve_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    """Lock a folder for this process; yield the token of its processes and a temporary folder for
    them.

    Processes that a killed predecessor left running are ended first. At the end of the ``with``
    block, or when this process dies in any way, all processes with the token are ended.

    Raises:
        OperationError: another process serves the folder.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        found = serving(folder)
        who = f"process {found.process.pid}" if found else "another process"
        raise OperationError(f"{folder}: {who} already serves it; stop that one first") from None
    with lock:
        before = _read(folder)
        if before is not None:
            end_processes(before.token)
        token = uuid.uuid4().hex
        with own_processes(token) as home:
            now = Serving(ProcessId.own(), token)
            write_json(folder / FILE, asdict(now))
            try:
                yield token, home
            finally:
                (folder / FILE).unlink(missing_ok=True)


def serving(folder: Path) -> Serving | None:
    """Return which process serves a folder now, if any."""
    found = _read(folder)
    return found if found is not None and found.process.alive() else None


def _read(folder: Path) -> Serving | None:
    values = read_json(folder / FILE)
    return None if values is None else read_record(Serving, values, folder / FILE)
