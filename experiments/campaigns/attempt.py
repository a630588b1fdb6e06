"""One attempt at a trial: a separate process, a fork, watched until it ends or hangs."""

import atexit
import os
import platform
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import psutil

from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.trial import is_done, text
from fl_server.simulation import take_over
from fl_server.simulation_superlink import LIBRARIES
from operation.environment import KEEP_FREED_MEMORY, SLEEPING_THREADS, flower_environment
from operation.fork_server import FORK_SERVER, ForkServerError, fork, prepare, start_fork_server
from operation.processes import TOKEN, end_processes, own_processes
from training.errors import RunFolderError
from training.gpu_memory import FOLDER as GPU_NOTES
from training.gpu_memory import GpuMemory, noted_gpu_memory
from training.head_settings import HEAD_KEYS
from training.run_folder import RunFolder, now
from training.run_state import RunState

POLL_SECONDS = 0.2
# Progress and memory are checked less often: reading a process's memory map takes time.
LOOK_SECONDS = 2.0

# Per call of campaign run.
_ATTEMPTS = 2

# Bytes read from the end of a log, to find its last line.
_TAIL = 2**16

# The program's exit status for wrong input, which a second attempt would not fix.
_BAD_INPUT = 2


@dataclass(frozen=True)
class AttemptTask:
    """The task of an attempt.

    Attributes:
        network_of: for ``heads``, the trial whose network is used; "" to train one.
        run: id of one call of ``campaign run``, in which a trial has two attempts.
        hang_seconds: after so long without progress the attempt has failed.
        alone: whether it has a GPU for itself, whose memory is then measured.
    """

    campaign: Path
    trial_id: str
    command: str
    network_of: str
    cpus: int
    run: str
    hang_seconds: float
    alone: bool = False


def attempt(task: AttemptTask, _source_ended: str | None = None) -> str:
    """Start or continue a trial; try once more if it crashes, is killed or hangs.

    Args:
        _source_ended: result of the trial that Ray waits for before it calls this.

    Returns:
        "" if it is done, otherwise the cause of the failure.
    """
    campaign = CampaignFolder(task.campaign)
    while True:
        end_leftovers(campaign, task.trial_id)
        last = campaign.attempt(task.trial_id)
        # The number is in the record, because Ray calls this again if the watching process dies.
        number = int(last.get("number", 0)) + 1 if last.get("run") == task.run else 1
        if number > _ATTEMPTS:
            cause = str(last.get("cause") or "the process that watched it was killed")
            campaign.record(task.trial_id, RunState.FAILED, cause)
            return cause
        status, cause = _attempt(task, campaign, number)
        if not cause or status == _BAD_INPUT:
            return cause


def _attempt(task: AttemptTask, campaign: CampaignFolder, number: int) -> tuple[int, str]:
    """Make one attempt; return the exit status and the cause of a failure."""
    folder = campaign.run_folder(task.trial_id)
    token = uuid.uuid4().hex
    record = {
        "run": task.run,
        "number": number,
        "host": platform.node(),
        "token": token,
        "started": now(),
        "outcome": RunState.RUNNING,
        "cause": "",
    }
    campaign.write_attempt(task.trial_id, record)
    log = campaign.log_path(task.trial_id)
    said_before = log.stat().st_size if log.exists() else 0
    began = time.monotonic()
    # What is left of an interrupted trial may need less memory than the whole.
    measured = task.alone and not folder.exists()
    peak, gpu_memory = 0, None
    try:
        status, hung, peak, gpu_memory = _run(task, campaign, folder, token)
        cause = hung or _cause(task, status, folder, log, said_before)
    except ForkServerError as error:
        status, cause = 1, str(error)
        _fork_server.cache_clear()  # the next attempt gets another
    seconds = time.monotonic() - began
    if not cause:
        about = {"id": task.trial_id, "seconds": seconds, "peak_memory": peak}
        if measured and gpu_memory is not None:
            about["gpu_memory"] = asdict(gpu_memory)
        folder.update_manifest(trial=about)
    outcome = RunState.FAILED if cause else RunState.COMPLETED
    ended = {"outcome": outcome, "cause": cause, "seconds": seconds}
    campaign.write_attempt(task.trial_id, {**record, **ended})
    return status, cause


def end_leftovers(campaign: CampaignFolder, trial_id: str) -> None:
    """End the processes that a killed attempt at a trial may have left running."""
    last = campaign.attempt(trial_id)
    if last.get("outcome") == RunState.RUNNING and last.get("host") == platform.node():
        end_processes(str(last.get("token", "")))
        _end_run(campaign.run_folder(trial_id))


def _end_run(folder: RunFolder) -> None:
    """End the processes that the starter of a run has left running."""
    try:
        folder.manifest()
    except RunFolderError:
        return  # damaged, so it names no process; the campaign moves it aside
    take_over(folder)


def _run(
    task: AttemptTask, campaign: CampaignFolder, folder: RunFolder, token: str
) -> tuple[int, str, int, GpuMemory | None]:
    """Return the exit status, and the reason if it was ended for hanging; and the most bytes of all
    its processes, and of its GPU with whatever else used that.
    """
    log_path = campaign.log_path(task.trial_id)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    server, server_pid, _ = _fork_server(task.cpus)
    peak, hung, look_at = 0, "", 0.0
    try:
        with own_processes(token) as home:
            process = fork(
                server,
                "experiments.cli:main",
                [*_arguments(task, campaign, folder)],
                environment=_environment(token, home, task.cpus)
                | {FORK_SERVER: str(server), GPU_NOTES: str(home)},
                folder=Path.cwd(),
                output=log_path,
            )
            progress = StallDetector(folder.path, log_path)
            while (status := process.wait(POLL_SECONDS)) is None:
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + LOOK_SECONDS
                    peak = max(peak, memory_of(server_pid))
                    still = progress.still_seconds()
                    if still > task.hang_seconds:
                        hung = f"no progress for {still / 60:.0f} minutes"
                        process.kill()
            gpu_memory = noted_gpu_memory(home)
    finally:
        # Watchdogs end what the process left running; the next attempt must not run beside it.
        _end_run(folder)
    return status, hung, peak, gpu_memory


# A process of Ray makes one attempt after the other. All processes of their trials are forks of its
# fork server, whose libraries have read the number of threads; it ends with this process.
@lru_cache(maxsize=1)
def _fork_server(cpus: int) -> tuple[Path, int, object]:
    """Return the fork server's socket and id, and what ends it when it is freed."""
    token = uuid.uuid4().hex
    ends = ExitStack()
    home = ends.enter_context(own_processes(token))
    environment = {**flower_environment(home, token), **_environment(token, home, cpus)}
    process = start_fork_server(home / "socket", environment, home / "log")
    prepare(home / "socket", (*LIBRARIES, "experiments.cli"))
    return home / "socket", process.pid, (ends, process)


atexit.register(_fork_server.cache_clear)  # while there still are modules to end it with


def _arguments(task: AttemptTask, campaign: CampaignFolder, folder: RunFolder) -> Iterator[str]:
    yield task.command
    if folder.exists():
        yield from ("--resume", "--out", str(folder.path))
        return
    if task.network_of:
        source = campaign.run_folder(task.network_of).path
        yield from ("--from", str(source), "--out", str(folder.path))
        flat = campaign.trial_config(task.trial_id)
        for key in HEAD_KEYS:
            yield from ("-c", f"{key}={text(flat[key])}")
        return
    yield from (str(campaign.config_path(task.trial_id)), "--out", str(folder.path))


def _environment(token: str, home: Path, cpus: int) -> dict[str, str]:
    """Return the environment of a trial, without anything of the campaign's Ray."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return {
        **SLEEPING_THREADS,
        **inherited,
        TOKEN: token,
        "TMPDIR": str(home),
        "PYTHONUNBUFFERED": "1",
        # With this, joblib, which runs are planned with, reports that many cores.
        "LOKY_MAX_CPU_COUNT": str(cpus),
        "OMP_NUM_THREADS": str(cpus),
        **KEEP_FREED_MEMORY,
    }


class StallDetector:
    """Measures for how long nothing has changed in a run folder and a log.

    File times are only compared for equality, so a clock that is set back does no harm.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        self._log = log
        self._seen = self._signature()
        self._since = time.monotonic()

    def still_seconds(self) -> float:
        """Return for how many seconds no call of this has seen a change."""
        signature = self._signature()
        if signature != self._seen:
            self._seen, self._since = signature, time.monotonic()
        return time.monotonic() - self._since

    def _signature(self) -> list[tuple[str, int, int]]:
        found = []
        # Unlike rglob, os.walk passes over a folder that is removed meanwhile.
        inside = [Path(at) / name for at, _, names in os.walk(self._folder) for name in names]
        for path in [self._log, *sorted(inside)]:
            if path.name == "flower.log":  # Flower also writes there when there is no progress
                continue
            try:
                stat = path.stat()
            except OSError:  # renamed or removed meanwhile
                continue
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
        return found


def memory_of(pid: int) -> int:
    """Return the bytes of a process and its descendants; shared pages count once."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # ended meanwhile
            continue
        # Only Linux reports the proportional part of shared pages.
        total += getattr(memory, "pss", memory.uss)
    return total


def _cause(task: AttemptTask, status: int, folder: RunFolder, log: Path, said_before: int) -> str:
    """Return why an attempt failed, "" if the trial is done."""
    if status < 0:
        usual = " (the usual cause is too little memory)" if status == -9 else ""
        return f"its process was killed by signal {-status}{usual}"
    try:
        if status == 0 and is_done(task.command, folder):
            return ""
        said = folder.manifest()
    except (RunFolderError, OSError) as error:
        return str(error)
    if status == 1 and said.get("status") == RunState.FAILED and said.get("cause"):
        return str(said["cause"])
    with log.open("rb") as file:
        file.seek(max(said_before, log.stat().st_size - _TAIL))
        lines = file.read().decode("utf-8", errors="replace").strip().splitlines()
    return f"exit status {status}: {lines[-1] if lines else 'it printed nothing'}"
