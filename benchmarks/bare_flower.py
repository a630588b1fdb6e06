"""Flower's own deployment with nothing of this project in it, to be measured beside."""

import json
import re
import shutil
import subprocess
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import psutil
import tomli_w

from benchmarks import bare_app
from fl_client.site.keys import make_key_pair
from fl_server.coordinator.certificates import make_authority, make_server_certificate
from operation.environment import flower_environment, free_port, script
from operation.processes import own_processes
from operation.supervised import Supervised

_CONNECTION = "bare"
_START_SECONDS = 60.0
# The end of Flower's default for its own strategies: how long a round may take.
_RUN_SECONDS = 3600.0


class BareFlower:
    """A SuperLink and its SuperNodes, stock programs started as Flower's documentation says.

    TLS, node authentication and subprocess isolation; intervals as they come. Apps' dependencies
    are not installed anew at every run. All ends with the ``with`` block.

    Args:
        folder: for everything; must be empty.
        nodes: how many SuperNodes.
        in_memory: whether the SuperLink keeps its state in memory, else in an SQLite file, which
            is what it needs to be started again without losing its nodes and runs.
    """

    def __init__(self, folder: Path, nodes: int, *, in_memory: bool = False) -> None:
        self._folder = folder
        self._nodes = nodes
        self._database = [] if in_memory else ["--database", str(folder / "state.db")]
        self._port = free_port()
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
        """Return the SuperLink, the SuperNodes and all below them."""
        found = []
        for one in self._started:
            if one.pid is not None:
                process = psutil.Process(one.pid)
                found += [process, *process.children(recursive=True)]
        return found

    def run(self, config: dict[str, Any]) -> "BareRun":
        """Start the app with this run config, see `benchmarks.bare_app`."""
        return BareRun(self, config)
