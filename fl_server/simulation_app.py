"""The process of a simulation's app, as a fork: ServerApp, and Flower's simulation engine."""

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue

import httpx

from operation.files import parse_json
from operation.flower_internals import (
    AcquireTaskRequest,
    ControlHttpClient,
    ProtoFab,
    RuntimeHttpClient,
    RuntimeVersionHttpInterceptor,
    StartRunRequest,
    TaskType,
    build_fab_from_disk,
    let_clients_work_at_once,
    run_simulation_process,
    simulation_config_from_json,
)

START_SECONDS = 60.0
MOST_CLIENTS = 10_000  # at work; threads are only started for those


def main() -> None:
    """Run an app to its end.

    Its arguments: HOST:PORT of a SuperLink, the app's folder, the file with Ray's address, and
    Flower's federation config as JSON.
    """
    # Imported here: Ray reads its environment while it is imported. And first, while SuperLink and
    # Ray still start.
    import ray

    from fl_server.shared_arrays import share_arrays

    superlink, app, ray_address, federation = sys.argv[1:]
    _wait("SuperLink", lambda: _answers(superlink))
    token = _submit(superlink, Path(app), parse_json(federation))
    _wait("Ray", Path(ray_address).exists)
    ray.init(Path(ray_address).read_text(encoding="utf-8"), logging_level=logging.ERROR)
    share_arrays()
    let_clients_work_at_once(MOST_CLIENTS)
    run_simulation_process(
        superlink, Queue(), token, insecure=True, runtime_dependency_install=False
    )


def _wait(name: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            sys.exit(f"{name} did not start within {START_SECONDS:.0f} s")
        time.sleep(0.02)


def _answers(superlink: str) -> bool:
    try:
        return httpx.get(f"http://{superlink}/health", timeout=1).is_success
    except httpx.HTTPError:
        return False


def _submit(superlink: str, app: Path, federation: Mapping[str, int | float]) -> str:
    """Start a run, take its task, which a superexec would do, and return the task's token."""
    bundle = build_fab_from_disk(app)
    control = ControlHttpClient(f"http://{superlink}")
    control.StartRun(
        StartRunRequest(
            fab=ProtoFab(hash_str=hashlib.sha256(bundle).hexdigest(), content=bundle),
            override_federation_config=simulation_config_from_json(dict(federation)),
        )
    )
    control.close()
    runtime = RuntimeHttpClient(
        f"http://{superlink}", interceptors=[RuntimeVersionHttpInterceptor("SuperExec")]
    )
    token = runtime.AcquireTask(
        AcquireTaskRequest(supported_task_types=[TaskType.SIMULATION])
    ).token
    runtime.close()
    return str(token)
