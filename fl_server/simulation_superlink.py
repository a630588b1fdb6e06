"""The processes of simulations: a SuperLink, the app, and Ray; all end with their starter."""

import json
import os
import secrets
import signal
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from operation.environment import KEEP_FREED_MEMORY, flower_environment, free_port, private_ray
from operation.fork_server import (
    FORK_SERVER,
    Forked,
    ForkServerError,
    fork,
    prepare,
    start_fork_server,
)
from operation.processes import own_processes
from operation.ray_head import HOST
from operation.ray_worker import LOG

_LINK = "fl_server.simulation_link"
_APP = "fl_server.simulation_app"
# What SuperLink, app and clients import, except Ray, which reads its environment when imported.
# jsonschema is imported by Ray. Between two of these, other processes can be started.
LIBRARIES = (
    _LINK,
    "torch",
    "torchvision",
    "pandas",
    "jsonschema",
    _APP,
    "fl_server.server_app",
    "fl_server.federated_run",
    "fl_client.client_app",
    "fl_client.client_setup",
    "fl_client.local_training",
    "fl_client.packing",
)


class SuperLink:
    """A private SuperLink with its own port, FLWR_HOME and environment.

    Flower would start one by itself, leave it running, and silently reuse it later with the
    environment of its first call. This one takes any number of runs, one after the other. At the
    end of the ``with`` block, or when this process dies in any way, all its processes end.

    All are forks of a process that imports their libraries, from the beginning of the block: of the
    fork server that the environment names, or of one of its own.

    Args:
        log_path: file for the output of all processes.
        ray_address: HOST:PORT of the Ray cluster on which clients run; None for a Ray of its own.
        libraries: that the runs' processes need beside `LIBRARIES`.
    """

    def __init__(
        self, log_path: Path, ray_address: str | None = None, libraries: Sequence[str] = ()
    ) -> None:
        self.log_path = log_path
        self._libraries = (*LIBRARIES, *libraries)
        self._ray_address = ray_address
        self.token = uuid.uuid4().hex
        self._ray_secret = secrets.token_hex(32)
        self._ends = ExitStack()
        self._port = free_port()
        self._runs = 0
        self._running: dict[str, Forked] = {}

    def __enter__(self) -> "SuperLink":
        self.home = self._ends.enter_context(own_processes(self.token))
        try:
            self._server = self._fork_server()
            prepare(self._server, self._libraries)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(
        self,
        app: Path,
        federation: Mapping[str, int | float],
        *,
        cpus: int,
        gpus: int,
    ) -> None:
        """Start a run of an app; what is left of the one before is ended.

        Args:
            app: folder with the app's pyproject.toml, which has the run's config.
            federation: Flower's federation config.
            cpus: number of clients that may work at the same time.
            gpus: that they share.
        """
        if "SuperLink" not in self._running:
            self._start(
                "SuperLink",
                f"{_LINK}:flower_superlink",
                *("--simulation", "--insecure", "--isolation", "process"),
                *("--host", HOST, "--port", str(self._port)),
                "--disable-runtime-dependency-installation",
            )
        self.end_run()
        self._runs += 1
        address = self.home / f"ray-{self._runs}"
        if self._ray_address is None:
            self._start("Ray", "operation.ray_head:main", self.home, cpus, gpus, address)
        else:
            address.write_text(self._ray_address, encoding="utf-8")
        self._start(
            *("ServerApp", f"{_APP}:main", f"{HOST}:{self._port}", app, address),
            json.dumps({key.replace("-", "_"): value for key, value in federation.items()}),
        )

    def end_run(self) -> None:
        """End the processes of the last run; Ray's own end when the one that started them does."""
        for name in ("ServerApp", "Ray"):
            if process := self._running.pop(name, None):
                with suppress(ForkServerError):  # its forks end with it
                    process.kill()
                    process.wait()

    def ended(self) -> str | None:
        """Return which process of the run has ended, None if all are running."""
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                return f"the process of the {name} ended unexpectedly (exit status {status})"
        return None

    def _start(self, name: str, function: str, *arguments: object) -> None:
        self._running[name] = fork(
            self._server,
            function,
            [str(argument) for argument in arguments],
            modules=self._libraries if name == "ServerApp" else (),
            environment=self._environment(),
            folder=self.home,
            output=self.log_path,
        )

    def _fork_server(self) -> Path:
        if FORK_SERVER in os.environ:
            return Path(os.environ[FORK_SERVER])
        path = self.home / "fork-server"
        environment = {**flower_environment(self.home, self.token), **KEEP_FREED_MEMORY}
        process = start_fork_server(path, environment, self.home / "fork-server.log")
        self._ends.callback(process.wait)
        self._ends.callback(process.kill)
        return path

    def _end(self) -> None:
        # A second Ctrl-C or SIGTERM must not interrupt the clean-up.
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
        try:
            self._ends.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _environment(self) -> dict[str, str]:
        return {
            **flower_environment(self.home, self.token),
            **KEEP_FREED_MEMORY,
            FORK_SERVER: str(self._server),
            LOG: str(self.log_path.resolve()),
            "RAY_DEDUP_LOGS": "0",
            **(_on_cluster() if self._ray_address else private_ray(self.home, self._ray_secret)),
        }


def _on_cluster() -> dict[str, str]:
    # The cluster's processes do not inherit this environment.
    job = {"runtime_env": {"env_vars": KEEP_FREED_MEMORY}}
    return {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}
