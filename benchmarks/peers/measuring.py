"""One run of a framework: its processes, their memory, and the times that its clients noted."""

import itertools
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from benchmarks.peers.frameworks import APPS, Framework
from benchmarks.peers.work import Work
from benchmarks.start_up import run_command
from operation.environment import free_port, past_proxies
from operation.processes import TOKEN, own_processes
from training.run_folder import RunFolder

MARK = "PEERS_MARK"
LOOK_SECONDS = 0.5
RUN_SECONDS = 300.0
# Of this process's environment: what would make torch, or the allocator, another one.
_TUNING = re.compile(r"(OMP|MKL|MALLOC|GLIBC|RAY|FLWR)_.*")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        rounds: seconds of each round from the second on, except the last one.
        start_up: seconds from the command to the first training step of any client.
        peak_bytes: largest memory of all its processes at one time; what processes share is
            counted once.
        losses: mean training loss of each round.
    """

    rounds: Sequence[float]
    start_up: float
    peak_bytes: int
    losses: Sequence[float]


def run_framework(framework: Framework, python: Path, work: Work) -> Run:
    """Run all rounds with a framework.

    Args:
        framework: which.
        python: the interpreter of its environment.
        work: what is trained.

    Raises:
        RuntimeError: a process failed, or did not end in time; contains what it printed.
    """
    noted = work.folder / "rounds.jsonl"
    noted.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="peers-") as name,
        own_processes(token := uuid.uuid4().hex) as home,
        MemoryWatch() as memory,
    ):
        folder = Path(name)
        app = folder / "app"
        app.mkdir()
        commands = framework.commands(python, app)
        environment = _environment(python, work.folder, home, token)
        began = time.time()
        said = _run_all(commands, environment, folder)
    lines = noted.read_text(encoding="utf-8").splitlines() if noted.is_file() else []
    try:
        rounds, start_up, losses = figures(
            [json.loads(line) for line in lines], began, work.config.clients, work.config.rounds
        )
    except RuntimeError as error:
        raise RuntimeError(f"{error}; {tail(said)}") from error
    return Run(rounds, start_up, memory.peak_bytes, losses)


def run_fedskin(work: Work) -> Run:
    """Run all rounds with ``fedskin simulate``; its run folder has the times.

    Raises:
        RuntimeError: the run failed.
    """
    with tempfile.TemporaryDirectory(prefix="peers-") as name, MemoryWatch() as memory:
        folder = RunFolder(Path(name) / "run")
        start = run_command(work.folder / "config.toml", folder, Path(name))
        records = folder.rounds()
    return Run(
        [record["seconds"]["round"] for record in records[1:-1]],
        start.first_step,
        memory.peak_bytes,
        [record["train_loss"] for record in records],
    )


def figures(
    lines: Sequence[Mapping[str, Any]], began: float, clients: int, rounds: int
) -> tuple[list[float], float, list[float]]:
    """Return the seconds of rounds, of the start-up, and the losses of rounds, as in `Run`.

    A round lasts from its first training step to that of the next one; so it includes everything
    that the framework does between them.

    Args:
        lines: of each client and round the times ``started`` and ``ended`` and the ``loss``.
        began: the time of the command.
        clients: their number.
        rounds: their number.

    Raises:
        RuntimeError: a client did not train exactly once in each round.
    """
    trained = sorted((line["round"], line["client"]) for line in lines)
    numbers = range(1, rounds + 1)
    if trained != list(itertools.product(numbers, range(clients))):
        raise RuntimeError(f"(round, client) that trained: {trained}")
    by_round = [[line for line in lines if line["round"] == number] for number in numbers]
    starts = [min(line["started"] for line in of_round) for of_round in by_round]
    losses = [statistics.fmean(line["loss"] for line in of_round) for of_round in by_round]
    seconds = [after - before for before, after in itertools.pairwise(starts[1:])]
    return seconds, starts[0] - began, losses


class MemoryWatch:
    """Within the ``with`` block, the memory of all processes that are started in it.

    They are found by a variable in their environment, which they inherit. The memory of a process
    is its proportional set size: what n processes share counts for one nth in each.

    Attributes:
        peak_bytes: the largest sum of those seen every half second.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._mark = uuid.uuid4().hex
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        os.environ[MARK] = self._mark
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del os.environ[MARK]
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.peak_bytes = max(self.peak_bytes, sum(map(self._bytes, psutil.process_iter())))

    def _bytes(self, process: psutil.Process) -> int:
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == self._mark:
                found: int = process.memory_full_info().pss
                return found
        except (psutil.Error, OSError):  # ended by now, a zombie, or another user's
            pass
        return 0


def _environment(python: Path, job: Path, home: Path, token: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _TUNING.fullmatch(name)}
    return {
        **kept,
        TOKEN: token,
        "PEERS_JOB": str(job),
        "PYTHONPATH": str(APPS),
        "PATH": os.pathsep.join((str(python.parent), kept.get("PATH", ""))),
        # A local SuperLink and a Ray of its own, as on a machine where nothing else runs.
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_ADDRESS": "local",
        "RAY_TMPDIR": str(home),
        **past_proxies(),
    }


def _run_all(commands: list[list[str]], environment: dict[str, str], folder: Path) -> str:
    """Run commands side by side to their ends, and return what they printed."""
    output = folder / "output"
    with output.open("wb") as file:
        processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                cwd=folder,
            )
            for command in commands
        ]
    deadline = time.monotonic() + RUN_SECONDS
    try:
        statuses = [None for _ in processes]
        while None in statuses and not any(statuses) and time.monotonic() < deadline:
            time.sleep(0.1)
            statuses = [process.poll() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    said = output.read_text(encoding="utf-8", errors="replace")
    if any(status != 0 for status in statuses):
        raise RuntimeError(f"statuses {statuses} within {RUN_SECONDS:.0f} s: {tail(said)}")
    return said


def tail(text: str, characters: int = 600) -> str:
    """Return the end of what a program printed, from the start of a line if possible."""
    if len(text) <= characters:
        return text.strip()
    kept = text[-characters:]
    return kept.partition("\n")[2].strip() or kept.strip()
