"""A private SuperLink in simulation mode; all processes that it started end with it."""

import json
import signal
import subprocess
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import tomli_w

from operation.environment import (
    KEEP_FREED_MEMORY,
    flower_environment,
    free_port,
    private_ray,
    script,
)
from operation.files import parse_json
from operation.processes import own_processes

START_SECONDS = 60.0
CONNECTION = "fedskin"


class SuperLinkError(RuntimeError):
    """A SuperLink that does not start or refuses a run, in one line."""


class SuperLink:
    """A private SuperLink with its own port, FLWR_HOME and environment.

    Flower would start one by itself, leave it running, and silently reuse it later with the
    environment of its first call. This one takes any number of runs, one after the other. At the
    end of the ``with`` block, or when this process dies in any way, all its processes end.

    Args:
        ray_address: HOST:PORT of the Ray cluster on which clients run; None for a Ray of its own.
    """

    def __init__(self, log_path: Path, ray_address: str | None = None) -> None:
        self.log_path = log_path
        self._ray_address = ray_address
        self.token = uuid.uuid4().hex
        self._ends = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "SuperLink":
        self.home = self._ends.enter_context(own_processes(self.token))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The SuperLink's process id."""
        assert self._process is not None
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return the SuperLink's exit status, None while it runs; negative for a signal."""
        assert self._process is not None
        return self._process.poll()

    def submit(self, app: Path, *, federation_config: str) -> str:
        """Start a run of an app folder and return Flower's id for it.

        Args:
            app: folder with the app and its pyproject.toml, which has the run's config.
            federation_config: ``key=value`` pairs as `flwr run --federation-config` takes them.

        Raises:
            SuperLinkError: Flower refuses the run.
        """
        answer = self._flwr(
            *("run", str(app), CONNECTION),
            *("--federation-config", federation_config),
        )
        return str(answer["run-id"])

    def status(self, run_id: str) -> str:
        """Return Flower's status of a run, such as ``running`` or ``finished:failed``."""
        answer = self._flwr("ls", CONNECTION, "--run-id", run_id)
        return str(answer["runs"][0]["status"])

    def _start(self) -> None:
        port = free_port()
        address = f"127.0.0.1:{port}"
        settings = {"superlink": {CONNECTION: {"address": address, "insecure": True}}}
        (self.home / "config.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
        command = [
            script("flower-superlink"),
            *("--simulation", "--insecure", "--isolation", "subprocess"),
            *("--host", "127.0.0.1", "--port", str(port)),
            "--disable-runtime-dependency-installation",
        ]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=self.home,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(address):
            if self._process.poll() is not None:
                raise SuperLinkError(f"the SuperLink ended at once; see {self.log_path}")
            if time.monotonic() > deadline:
                raise SuperLinkError(f"the SuperLink did not answer; see {self.log_path}")
            time.sleep(0.05)

    def _end(self) -> None:
        # A second Ctrl-C or SIGTERM must not interrupt the clean-up.
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
        try:
            self._ends.close()
            if self._process is not None:
                self._process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _environment(self) -> dict[str, str]:
        return {
            **flower_environment(self.home, self.token),
            **KEEP_FREED_MEMORY,
            # With more frequent polls, the SuperLink takes a noticeable part of a core from the
            # clients.
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
            "RAY_DEDUP_LOGS": "0",
            **(private_ray(self.home) if self._ray_address is None else self._cluster()),
        }

    def _cluster(self) -> dict[str, str]:
        # The cluster's processes do not inherit this environment.
        job = {"runtime_env": {"env_vars": KEEP_FREED_MEMORY}}
        return {
            "RAY_ADDRESS": str(self._ray_address),
            "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job),
        }

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        result = subprocess.run(
            [script("flwr"), *arguments, "--format", "json"],
            env=self._environment(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        try:
            answer: dict[str, Any] = parse_json(result.stdout)
        except ValueError:
            answer = {}
        if result.returncode != 0 or not answer.get("success"):
            said = answer.get("error-message") or result.stderr or result.stdout
            last = said.strip().splitlines()[-1] if said.strip() else "no reason given"
            raise SuperLinkError(f"flwr {arguments[0]}: {last}")
        return answer


def _healthy(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/health", timeout=1).is_success
    except httpx.HTTPError:
        return False
