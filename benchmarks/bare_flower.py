"""Flower's own deployment, without any part of this project, for comparison."""

import json
import re
import shutil
import ssl
import subprocess
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import psutil
import tomli_w

from fl_client.site.keys import make_key_pair
from fl_server.coordinator.certificates import make_authority, make_server_certificate
from operation.environment import flower_environment, free_port, script
from operation.processes import own_processes
from operation.supervised import Supervised

_CONNECTION = "bare"
_START_SECONDS = 60.0


class BareFlower:
    """A SuperLink and its SuperNodes, Flower's own programs started as its documentation says.

    TLS, node authentication and subprocess isolation, with default intervals. The apps'
    dependencies are not installed again for every run. All processes end with the ``with`` block.

    Args:
        folder: for all files; must be empty.
        nodes: number of SuperNodes.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder = folder
        self._nodes = nodes
        self._port = free_port()
        self._address = f"localhost:{self._port}"
        self._environment: dict[str, str] = {}
        self._started: list[Supervised] = []
        self._processes = ExitStack()

    def __enter__(self) -> "BareFlower":
        with ExitStack() as undo:
            token = uuid.uuid4().hex
            home = undo.enter_context(own_processes(token))
            self._environment = flower_environment(home, token)
            undo.callback(self._end)
            self._start_superlink(home)
            for number in range(self._nodes):
                self._start_supernode(number)
            self._processes = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._processes.close()

    def processes(self) -> list[psutil.Process]:
        """Return the SuperLink, the SuperNodes and all their child processes."""
        found = []
        for one in self._started:
            if one.pid is not None:
                process = psutil.Process(one.pid)
                found += [process, *process.children(recursive=True)]
        return found

    def start(self, config: Mapping[str, int | str]) -> subprocess.Popen[bytes]:
        """Start a run of `benchmarks.bare_app`; the process ends when the run does.

        Args:
            config: the keys that the app reads, except ``nodes`` and ``result``.
        """
        app = self._folder / "app"
        app.mkdir()
        shutil.copy(Path(__file__).with_name("bare_app.py"), app)
        values = {**config, "nodes": self._nodes, "result": str(self._result)}
        (app / "pyproject.toml").write_text(tomli_w.dumps(_project(values)), encoding="utf-8")
        with self._output.open("wb") as output:
            return subprocess.Popen(
                [script("flwr"), "run", str(app), _CONNECTION, "--stream"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=self._folder,
            )

    def rounds(self) -> list[dict[str, float]]:
        """Return the rounds of the finished run: ``seconds`` of each, and how many of them were
        ``computing``, that is, spent in the client functions.

        Raises:
            RuntimeError: the run failed, or a client is missing from a round.
        """
        said = self._output.read_text(encoding="utf-8", errors="replace")
        if not self._result.is_file() or re.search(r"results and [1-9]\d* failures", said):
            raise RuntimeError(said)
        found: list[dict[str, float]] = json.loads(self._result.read_text(encoding="utf-8"))
        return found

    @property
    def _output(self) -> Path:
        return self._folder / "run.output"

    @property
    def _result(self) -> Path:
        return self._folder / "rounds.json"

    def _start_superlink(self, home: Path) -> None:
        ca, ca_key = self._folder / "ca.crt", self._folder / "ca.key"
        certificate, key = self._folder / "server.crt", self._folder / "server.key"
        make_authority(ca, ca_key)
        make_server_certificate(
            "localhost", certificate=certificate, key=key, ca_certificate=ca, ca_key=ca_key
        )
        connection = {"address": self._address, "root-certificates": str(ca)}
        settings = {"superlink": {_CONNECTION: connection}}
        (home / "config.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
        self._start_program(
            "flower-superlink",
            *("--ssl-ca-certfile", str(ca), "--ssl-certfile", str(certificate)),
            *("--ssl-keyfile", str(key), "--enable-supernode-auth"),
            *("--host", "127.0.0.1", "--port", str(self._port)),
            "--disable-runtime-dependency-installation",
        )
        trusted = ssl.create_default_context(cafile=str(ca))
        deadline = time.monotonic() + _START_SECONDS
        while not _healthy(f"https://{self._address}/health", trusted):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the SuperLink did not answer within {_START_SECONDS:.0f} s")
            time.sleep(0.1)

    def _start_supernode(self, number: int) -> None:
        key = self._folder / f"node-{number}"
        public = key.with_suffix(".pub")
        make_key_pair(key, public, key.name)
        subprocess.run(
            [script("flwr"), "supernode", "register", str(public), _CONNECTION],
            env=self._environment,
            check=True,
            capture_output=True,
        )
        self._start_program(
            "flower-supernode",
            *("--root-certificates", str(self._folder / "ca.crt"), "--superlink", self._address),
            *("--auth-supernode-private-key", str(key)),
            *("--host", "127.0.0.1", "--port", str(free_port())),
        )

    def _start_program(self, program: str, *arguments: str) -> None:
        number = len(self._started)
        self._started.append(
            Supervised(
                f"{program} {number}",
                [script(program), *arguments],
                log_path=self._folder / f"{number}-{program}.log",
                environment=self._environment,
                folder=self._folder,
            )
        )
        self._started[-1].tend()

    def _end(self) -> None:
        for one in reversed(self._started):
            one.end()


def _project(config: Mapping[str, int | str]) -> dict[str, Any]:
    return {
        "project": {"name": "bare", "version": "1.0.0", "license": "Apache-2.0"},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "bare",
                    "fab-include": ["bare_app.py"],
                    "components": {"serverapp": "bare_app:server", "clientapp": "bare_app:client"},
                    "config": dict(config),
                }
            }
        },
    }


def _healthy(address: str, trusted: ssl.SSLContext) -> bool:
    try:
        return httpx.get(address, verify=trusted, timeout=1).is_success
    except httpx.HTTPError:
        return False
