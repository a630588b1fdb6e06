"""Ray decides which trials run when and where; a trial is a Ray task that starts a process."""

import logging
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import psutil
import ray
from ray.exceptions import RayError

from experiments.campaigns.attempt import AttemptFailed, Order, attempt
from experiments.campaigns.folder import FAILED, CampaignFolder
from fl_server.processes import TOKEN, end_processes, start_watchdog
from training.errors import ConfigError

# Where the operating system, Ray and the campaign itself live.
_KEPT_FREE = 0.1

_POLL_SECONDS = 0.5

# Bytes, about the least that Ray takes: trials leave their results in files.
_OBJECT_STORE = 100 * 2**20

_RAY = {
    # Ray would kill its own processes where memory gets short, and not the trials, which are what
    # takes it; those the operating system finds by itself.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray would have the trials give way to whatever else runs: they are the campaign.
    "RAY_worker_niceness": "0",
}


@dataclass(frozen=True)
class Share:
    """What one trial gets of the machines.

    Attributes:
        cpus: cores.
        gpus: of one GPU or several; 0 for none.
        memory: bytes that it is expected to need at most.
    """

    cpus: int
    gpus: float
    memory: int


@dataclass(frozen=True)
class Job:
    """An attempt to make, once what it waits for has been.

    Attributes:
        order: see `attempt`.
        share: what it gets; see `Cluster.share`.
        after: the trial whose end it waits for, "" for none; stands before it in the list.
    """

    order: Order
    share: Share
    after: str


class Cluster:
    """The machines of a campaign: this one, or those of a Ray cluster that stands already.

    On this machine a Ray of the campaign's own is started, in a folder and with an address of its
    own, and ended with the ``with`` block, or when this process dies in whatever way.

    Args:
        address: of a standing cluster; None for this machine alone.

    Raises:
        ConfigError: the cluster cannot be reached.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._token = uuid.uuid4().hex

    def __enter__(self) -> "Cluster":
        if self._address is None:
            self._start()
        else:
            self._join(self._address)
        self._nodes: list[dict[str, float]] = [
            node["Resources"] for node in ray.nodes() if node["Alive"]
        ]
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()
        if self._address is None:
            end_processes(self._token)
            os.environ.pop(TOKEN, None)
            shutil.rmtree(self._home, ignore_errors=True)
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            self._watchdog.wait()

    def share(self, *, cpus: int, gpus: float, memory: int) -> Share:
        """Plan what a trial gets.

        Args:
            cpus: wished; 0: one core, or on machines with GPUs the cores that belong to its part.
            gpus: wished; 0: one where there are any.
            memory: bytes wished; a trial that wants more than any machine has gets one for itself.

        Raises:
            ConfigError: no machine has so many cores or GPUs.
        """
        most_cpus = max(int(node.get("CPU", 0)) for node in self._nodes)
        most_gpus = max(node.get("GPU", 0.0) for node in self._nodes)
        gpus = gpus or (1.0 if most_gpus else 0.0)
        planned = int(most_cpus * gpus / most_gpus) if most_gpus else 1
        cpus = cpus or max(1, planned)
        for key, wished, most in (
            ("cpus-per-trial", cpus, most_cpus),
            ("gpus-per-trial", gpus, most_gpus),
        ):
            if wished > most:
                raise ConfigError(f"{key} = {wished:g}: the largest machine has {most:g}")
        most_memory = max(int(node.get("memory", 0)) for node in self._nodes)
        return Share(cpus, gpus, min(memory, most_memory))

    def run(self, jobs: Sequence[Job]) -> Iterator[dict[str, str]]:
        """Run jobs as the machines have room for them.

        Yields:
            Twice a second what has ended since: trial id → "" where it is done, else the cause.
        """
        started: dict[str, Any] = {}
        for job in jobs:
            before = started.get(job.after)
            started[job.order.trial_id] = _task(job.share).remote(job.order, before)
        known = {started[job.order.trial_id]: job for job in jobs}
        open_ = list(known)
        while open_:
            ended, open_ = ray.wait(open_, num_returns=len(open_), timeout=_POLL_SECONDS)
            yield {known[each].order.trial_id: _outcome(each, known[each]) for each in ended}

    def _start(self) -> None:
        # Ray's socket names must stay short, so a long TMPDIR will not do.
        self._home = Path(tempfile.mkdtemp(prefix="fedskin-", dir="/tmp"))
        self._watchdog = start_watchdog(self._token, self._home)
        os.environ.update({TOKEN: self._token, **_RAY})
        ray.init(
            address="local",
            num_cpus=joblib.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE,
            _memory=int(psutil.virtual_memory().available * (1 - _KEPT_FREE)),
            _temp_dir=str(self._home),
        )

    def _join(self, address: str) -> None:
        try:
            if address != "auto":
                # Ray itself ends the whole process where nobody answers.
                host, colon, port = address.rpartition(":")
                if not colon or not port.isdigit():
                    raise ConfigError(f"--ray-address {address}: write it as HOST:PORT, or auto")
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"--ray-address {address}: no Ray cluster answers ({reason})"
            ) from None


def _task(share: Share) -> Any:
    """Return the Ray task of one trial; what crashes, is killed or hangs is tried once more."""
    task: Any = ray.remote(_attempt)
    return task.options(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        memory=share.memory,
        max_retries=1,
        retry_exceptions=[AttemptFailed],
    )


def _attempt(order: Order, _before: str | None) -> str:
    return attempt(order)


def _outcome(reference: Any, job: Job) -> str:
    try:
        return str(ray.get(reference))
    except AttemptFailed as error:
        cause = str(error)
    except RayError as error:
        cause = f"Ray lost it: {str(error).strip().splitlines()[0]}"
    # What a job waits for fails it, too, without an attempt.
    campaign = CampaignFolder(job.order.campaign)
    if job.after and campaign.attempt(job.order.trial_id).get("outcome") != FAILED:
        return f"{job.after}, whose network it takes, failed: {cause}"
    return cause
