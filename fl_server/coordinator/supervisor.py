"""Supervises a coordinator: its SuperLink, its superexec, its sites, and one run after the other.

The whole state is in folders: the list of sites, the orders, the run folders. Everything in the
SuperLink is made from them. So if any process dies, this one included, recovery is always the same:
register the sites again, submit the unfinished run again, and it continues from its checkpoint.
"""

import logging
import os
import socket
import sys
import time
from pathlib import Path

from fl_server.coordinator.control import Control, ControlError
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.runner import Runner
from fl_server.coordinator.sites import Sites
from operation.environment import PLACES_VARIABLE, REUSE_FREED_PIECES, flower_environment, script
from operation.files import write_json
from operation.processes import end_processes
from operation.supervised import Supervised

log = logging.getLogger(__name__)

# Time between two reads of the list of sites.
SITES_SECONDS = 2.0
# Time between two queries of the connected sites, which are only for people.
ONLINE_SECONDS = 5.0
# A SuperLink that does not answer for this long is killed and started again.
ANSWER_SECONDS = 60.0


class Supervisor:
    """Supervises what a coordinator needs; `tend` must be called often.

    Args:
        public: a listening socket for the sites.
        inside: a socket listening on 127.0.0.1, for this machine.
    """

    def __init__(
        self,
        folder: CoordinatorFolder,
        *,
        token: str,
        home: Path,
        public: socket.socket,
        inside: socket.socket,
    ) -> None:
        self._folder = folder
        self._token = token
        self._sites = Sites(folder)
        self._runner = Runner(folder, drop_server=self._drop_server, working=self._working)
        self._address = f"127.0.0.1:{inside.getsockname()[1]}"
        environment = {
            **flower_environment(home, token),
            **REUSE_FREED_PIECES,
            # Each request is held at the door until there is a run.
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            PLACES_VARIABLE: str(folder.places),
        }
        sockets = [public.fileno(), inside.fileno()]
        # The sockets stay open here while a SuperLink is restarted: incoming connections wait.
        self._superlink = Supervised(
            "the SuperLink",
            [
                *(sys.executable, "-m", "fl_server.coordinator.superlink"),
                *(str(folder.path), *map(str, sockets)),
            ],
            log_path=folder.logs / "superlink.log",
            environment=environment,
            folder=home,
            pass_fds=sockets,
        )
        self._superexec = Supervised(
            "the superexec",
            [
                script("flower-superexec"),
                *("--runtime-api-address", self._address),
                *("--root-certificates", str(folder.ca_certificate)),
                *("--superexec-auth-secret-file", str(folder.secret)),
                # It hides its environment, and so the token, from everyone but root.
                *("--parent-pid", str(os.getpid())),
            ],
            log_path=folder.logs / "superexec.log",
            environment=environment,
            folder=home,
            restart_seconds=2.0,
        )
        self._control: Control | None = None
        self._answered = 0.0
        self._said = ""
        self._sites_read = self._online_read = 0.0
        self._nodes: dict[str, int] = {}
        self._connected: list[str] | None = None

    def tend(self) -> None:
        """Restart what has stopped, and continue the runs.

        Raises:
            OperationError, RunFolderError: a file in the coordinator's folder, or in a run's, is
                damaged.
        """
        if not self._superlink.running():
            self._drop_everything()
            if not self._superlink.tend():
                return
            self._control = Control(self._address, self._folder)
            self._answered = time.monotonic()
        assert self._control is not None
        try:
            self._tend_sites(self._control)
            if not self._superexec.running():
                self._runner.abandon()
                self._superexec.tend()
            self._runner.tend(self._control, self._nodes)
            self._answered = time.monotonic()
            self._said = ""
        except ControlError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("%s", error)
            if self._superlink.running() and time.monotonic() > self._answered + ANSWER_SECONDS:
                self._superlink.end()

    def end(self) -> None:
        """End everything; an unfinished run continues when the folder is served again."""
        self._superexec.end()
        self._drop_everything()
        self._superlink.end()

    def _drop_everything(self) -> None:
        """Drop the state of a SuperLink that has ended, and end the processes that need it."""
        self._superexec.end(grace_seconds=0)
        self._drop_server()
        self._runner.forget()
        if self._control is not None:
            self._control.close()
        self._control = None
        self._nodes = {}
        self._sites_read = self._online_read = 0.0
        self._write_connected([])

    def _drop_server(self) -> None:
        """End a ServerApp, if there is one: its superexec or its run has ended."""
        spared = [pid for pid in (self._superlink.pid, self._superexec.pid) if pid]
        end_processes(self._token, spared=spared)

    def _working(self) -> bool:
        return self._superlink.running() and self._superexec.running()

    def _tend_sites(self, control: Control) -> None:
        """Register admitted sites, remove revoked ones, and check which are connected."""
        if time.monotonic() < self._sites_read + SITES_SECONDS:
            return
        active = self._sites.active()
        for name in self._nodes.keys() - active.keys():
            control.unregister(self._nodes[name])
            del self._nodes[name]
            log.info("%s was revoked and shut out", name)
        for name in active.keys() - self._nodes.keys():
            self._nodes[name] = control.register(name, active[name].public_key)
        self._sites_read = time.monotonic()
        if time.monotonic() >= self._online_read + ONLINE_SECONDS:
            online = control.online()
            self._write_connected([name for name in active if self._nodes[name] in online])
            self._online_read = time.monotonic()

    def _write_connected(self, names: list[str]) -> None:
        if names == self._connected:
            return
        before = self._connected or []
        self._connected = names
        for name in before:
            if name not in names:
                log.info("%s is not connected any more", name)
        for name in names:
            if name not in before:
                log.info("%s is connected", name)
        write_json(self._folder.connected, {"sites": names})
