"""Runs trials with Ray, which decides when and where; a trial is a Ray task with one process."""

import logging
import os
import secrets
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import joblib
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from experiments.campaigns.attempt import attempt
from experiments.campaigns.attempt_elsewhere import (
    attempt_apart,
    attempt_elsewhere,
    files_of,
    put_files,
)
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.gpu_sharing import GpuSharing
from experiments.campaigns.job import Job, Share
from fl_server.ray_cluster import joined
from operation import ray_head
from operation.environment import private_ray
from operation.machine_memory import machine_memory
from operation.processes import TOKEN, own_processes
from training.errors import ConfigError

# Part of the memory for the operating system, Ray and the campaign itself.
_KEPT_FREE = 0.1

_POLL_SECONDS = 0.5

# Bytes, about the minimum that Ray accepts: trials write their results to files.
_OBJECT_STORE = 100 * 2**20

_RAY = {
    # When memory runs out, Ray would kill its own processes instead of the trials, which use the
    # memory; the operating system kills the right ones.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Cluster:
    """The machines of a campaign: this one, or those of an existing Ray cluster.

    On this machine a separate Ray is started, with its own folder and address, and ended with the
    ``with`` block, or when this process dies in any way.

    Args:
        address: of an existing cluster; None for this machine only.
        campaign: its folder. If a machine does not see it, the trials' files travel over Ray.

    Raises:
        ConfigError: the cluster cannot be used; see `fl_server.ray_cluster.joined`.
    """

    def __init__(self, address: str | None, campaign: CampaignFolder) -> None:
        self._address = address
        self._campaign = campaign
        self._token = uuid.uuid4().hex
        self._ends = ExitStack()
        self._begun: Queue | None = None

    def __enter__(self) -> "Cluster":
        if self._address is None:
            self._start()
            self._nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes()]
        else:
            found = self._ends.enter_context(joined(self._address, self._campaign.path))
            self._nodes = [machine.resources for machine in found.machines]
            if not found.shared:
                # Here, so that it does not end with another machine.
                here = NodeAffinitySchedulingStrategy(
                    ray.get_runtime_context().get_node_id(), False
                )
                self._begun = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        # Ray has set its own handler for SIGTERM; here SIGTERM ends a campaign as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def share(self, *, cpus: int, gpus: float | None, memory: Callable[[int], int]) -> Share:
        """Plan a trial's resources.

        Args:
            cpus: cores; 0: one core, or on machines with GPUs its share of the cores.
            gpus: GPUs; 0: one if there are any; None: none.
            memory: bytes, from the number of cores; a trial that needs more than any machine has
                gets a whole machine.

        Raises:
            ConfigError: no machine has so many cores and GPUs.
        """
        if gpus == 0:
            gpus = 1.0 if any(node.get("GPU") for node in self._nodes) else None
        gpus = gpus or 0.0
        fit = [
            node
            for node in self._nodes
            if node.get("CPU", 0) >= max(1, cpus) and node.get("GPU", 0) >= gpus
        ]
        if not fit:
            largest = max(self._nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)))
            raise ConfigError(
                f"cpus-per-trial = {cpus}, gpus-per-trial = {gpus:g}: no machine has both; the "
                f"largest has {largest.get('CPU', 0):g} cores and {largest.get('GPU', 0):g} GPUs"
            )
        if not cpus:
            parts = [int(node["CPU"] * gpus / node["GPU"]) for node in fit] if gpus else [1]
            cpus = max(1, min(parts))
        most = max(int(node.get("memory", 0)) for node in fit)
        return Share(cpus, gpus, min(memory(cpus), most))

    @property
    def own_gpus(self) -> int:
        """GPUs of this machine; 0 on a cluster, where nothing is known of their memory."""
        return int(self._nodes[0].get("GPU", 0)) if self._address is None else 0

    def run(
        self, jobs: Sequence[Job], sharing: GpuSharing | None = None
    ) -> Iterator[dict[str, str]]:
        """Run jobs, as many at a time as fit on the machines.

        Args:
            sharing: may let several share a GPU; None: their shares are as they say.

        Yields:
            Twice a second, what has ended since: trial id → "" if done, otherwise the cause.
        """
        names: dict[Any, str] = {}
        waiting = list(jobs)
        while waiting or names:
            given, waiting = sharing.divide(waiting) if sharing else (waiting, [])
            names |= self._submit(given, names)
            ended, _ = ray.wait([*names], num_returns=len(names), timeout=_POLL_SECONDS)
            if self._begun is not None:
                for trial_id, record in self._begun.get_nowait_batch(self._begun.qsize()):
                    self._campaign.write_attempt(trial_id, record)
            # Forgotten here, so that Ray can free the files of a trial that has ended.
            outcomes = {names.pop(each): self._outcome(each) for each in ended}
            if sharing:
                sharing.ended(outcomes)
            yield outcomes

    def _submit(self, jobs: Sequence[Job], running: Mapping[Any, str]) -> dict[Any, str]:
        """Give jobs to Ray; return the trials' ids by the references of their results."""
        started = {trial_id: reference for reference, trial_id in running.items()}
        networks: dict[str, Any] = {}
        new: dict[Any, str] = {}
        for job in jobs:
            trial_id, source = job.task.trial_id, job.task.network_of
            before = [started[job.after]] if job.after in started else []
            if self._address is None:
                reference = _task(attempt, job.share).remote(job.task, *before)
            elif self._begun is None:
                reference = _task(attempt_elsewhere, job.share).remote(job.task, job.facts, *before)
            else:
                if source and not before:
                    if source not in networks:
                        networks[source] = ray.put(("", files_of(self._campaign, source)))
                    before = [networks[source]]
                reference = _task(attempt_apart, job.share).remote(
                    *(job.task, job.facts, self._begun),
                    *(("", files_of(self._campaign, trial_id)), *before),
                )
            started[trial_id] = reference
            new[reference] = trial_id
        return new

    def _outcome(self, reference: Any) -> str:
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            return f"{type(error.cause).__name__}: {error.cause}"
        except RayError as error:
            return f"Ray lost it: {str(error).strip().splitlines()[0]}"
        if self._begun is None:
            return str(result)
        cause, files = result
        put_files(self._campaign, files)
        return str(cause)

    def _start(self) -> None:
        self._home = self._ends.enter_context(own_processes(self._token))
        ray_environment = private_ray(self._home, secrets.token_hex(32))
        ours = {TOKEN: self._token, **ray_environment, **_RAY}
        self._ends.callback(ray_head.read_secret_again)
        self._ends.enter_context(patch.dict(os.environ, ours))
        ray_head.read_secret_again()
        head = ray_head.start(
            str(self._home),
            cpus=joblib.cpu_count(),
            gpus=None,
            memory=int(machine_memory().free * (1 - _KEPT_FREE)),
            object_store_memory=_OBJECT_STORE,
        )
        self._ends.callback(head.kill_all_processes, check_alive=False, allow_graceful=True)
        ray.init(head.gcs_address, log_to_driver=False, logging_level=logging.ERROR)
        self._ends.callback(ray.shutdown)


def _task(function: Callable[..., object], share: Share) -> Any:
    """Return the Ray task of one trial; if its process or machine dies, Ray starts it again."""
    task: Any = ray.remote(function)
    return task.options(
        num_cpus=share.cpus, num_gpus=share.gpus, memory=share.memory, max_retries=1
    )
