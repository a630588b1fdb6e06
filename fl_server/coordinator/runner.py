"""Processing a coordinator's orders one after the other."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fl_server.coordinator.bundles import find_bundle
from fl_server.coordinator.control import Control, ControlError, ControlRefused
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Order, Orders, close_run
from fl_server.coordinator.sites import Sites
from fl_server.federated_config import for_sites
from operation.errors import OperationError
from operation.files import write_text
from operation.processes import ProcessId
from training.config import PATH_KEYS
from training.errors import ConfigError, RunFolderError
from training.run_folder import RunFolder
from training.run_state import RunState

# Until the ServerApp has written its name into the manifest, Flower is asked for the run's status.
ASK_SECONDS = 5.0
START_SECONDS = 600.0


@dataclass(frozen=True)
class Judgement:
    """The state of an attempt."""

    state: RunState  # running, completed, failed or lost
    cause: str | None = None  # in one line, if failed or lost


class Submission:
    """A Flower run that was submitted for an order.

    Args:
        nodes: Flower's number of each of the order's sites.

    Raises:
        OperationError: its bundle no longer exists.
        RunFolderError, ConfigError: its run folder is missing or damaged.
        ControlError: the SuperLink refuses it.
    """

    def __init__(
        self, folder: CoordinatorFolder, order: Order, control: Control, nodes: Mapping[str, int]
    ) -> None:
        self._run_folder = RunFolder(Path(order.run_dir))
        config = self._run_folder.config()
        bundle = find_bundle(folder, order.bundle)
        self._run_folder.update_manifest(
            status=RunState.RUNNING,
            phase="starting Flower",
            cause=None,
            finished=None,
            server=None,
            sites={name: nodes[name] for name in order.sites},
            run=self._run_folder.manifest().get("run") or uuid.uuid4().hex,
            bundle=order.bundle,
        )
        # Sites see the submitted config and refuse every path, so the coordinator's own paths are
        # passed to the ServerApp by this file.
        values = config.replace(run_dir=order.run_dir).to_flat()
        write_text(folder.places, tomli_w.dumps({key: values[key] for key in PATH_KEYS}))
        self._control = control
        self._run_id = control.start(bundle, order.bundle, for_sites(config).to_flat())
        self._started = self._asked = time.monotonic()

    @property
    def round(self) -> int:
        """The last finished round."""
        return self._run_folder.checkpoint.progress().round

    def judge(self) -> Judgement:
        """Return the state of the attempt; Flower's own status says too little.

        Raises:
            RunFolderError: the run folder is damaged.
            ControlError: the SuperLink does not answer.
        """
        gone = self._what_is_gone()
        # Checked last: a process that has ended may have finished its work just before.
        manifest = self._run_folder.manifest()
        if manifest.get("status") == RunState.COMPLETED:
            return Judgement(RunState.COMPLETED)
        if manifest.get("status") == RunState.FAILED:
            return Judgement(RunState.FAILED, str(manifest.get("cause")))
        return Judgement(RunState.LOST, gone) if gone else Judgement(RunState.RUNNING)

    def stop(self) -> None:
        """End the run in Flower, so that its messages are no longer delivered.

        Raises:
            ControlError: the SuperLink does not answer, or the run has ended.
        """
        self._control.stop(self._run_id)

    def _what_is_gone(self) -> str | None:
        server = self._run_folder.manifest().get("server")
        if server:
            alive = ProcessId(server["pid"], server["created"]).alive()
            return None if alive else "the process of the ServerApp ended unexpectedly"
        if time.monotonic() > self._started + START_SECONDS:
            return f"the ServerApp did not start within {START_SECONDS:.0f} s"
        if time.monotonic() > self._asked + ASK_SECONDS:
            self._asked = time.monotonic()
            status = self._control.status(self._run_id)
            if status.startswith("finished"):
                return f"Flower ended the run before it began ({status})"
        return None


log = logging.getLogger(__name__)

# After this many failed attempts in a row without a new round, further ones would fail, too.
MOST_LOST = 5


class Runner:
    """Works on one order at a time, and repeats attempts whose processes died.

    Args:
        drop_server: ends the ServerApp, if there is one.
        working: returns whether SuperLink and superexec run.
    """

    def __init__(
        self,
        folder: CoordinatorFolder,
        *,
        drop_server: Callable[[], None],
        working: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._drop_server = drop_server
        self._working = working
        self._orders = Orders(folder)
        self._sites = Sites(folder)
        self._order: Order | None = None
        self._submission: Submission | None = None
        self._lost = 0
        self._round = 0

    def tend(self, control: Control, nodes: Mapping[str, int]) -> None:
        """Start the next order, or check the state of the current one.

        Args:
            control: the control of the SuperLink.
            nodes: Flower's number of each registered site.

        Raises:
            ControlError: the SuperLink does not answer.
            OperationError, RunFolderError: a file in the coordinator's folder, or in a run's, is
                damaged.
        """
        order = self._order
        if order is None:
            self._order = self._orders.next()
            self._lost = 0
            return
        if _is_completed(order):  # even if it was stopped, or a site revoked, at the same time
            self._complete(order)
            return
        if self._orders.get(order.number).state == RunState.STOPPED:
            self._close(order, RunState.STOPPED)
            return
        admitted = self._sites.active()
        revoked = [name for name in order.sites if name not in admitted]
        if revoked:
            self._close(order, f"{', '.join(revoked)}: revoked; start a new run with the others")
            return
        try:
            if self._submission is not None:
                self._heed(order, self._submission)
            elif self._working() and nodes.keys() >= set(order.sites):
                self._submission = Submission(self._folder, order, control, nodes)
                self._round = self._submission.round
                self._orders.record(order.number, RunState.RUNNING)
                log.info("run %d was submitted, from round %d on", order.number, self._round)
        except (OperationError, RunFolderError, ConfigError, ControlRefused) as error:
            self._close(order, str(error))

    def forget(self) -> None:
        """Repeat the current attempt: its SuperLink has ended."""
        self._submission = None

    def abandon(self) -> None:
        """End the current attempt, and repeat it."""
        submission, self._submission = self._submission, None
        self._drop_server()
        if submission is not None:
            try:
                submission.stop()
            except ControlError as error:  # for example because the run has ended
                log.info("%s", error)

    def _heed(self, order: Order, submission: Submission) -> None:
        judgement = submission.judge()
        if judgement.state == RunState.COMPLETED:
            self._complete(order)
        elif judgement.state == RunState.FAILED and self._working():
            self._close(order, str(judgement.cause))
        elif judgement.state in (RunState.FAILED, RunState.LOST):
            self._try_again(order, submission, judgement)

    def _complete(self, order: Order) -> None:
        self._orders.record(order.number, RunState.COMPLETED)
        log.info("run %d is completed", order.number)
        self._order = self._submission = None

    def _try_again(self, order: Order, submission: Submission, judgement: Judgement) -> None:
        self._lost = self._lost + 1 if submission.round == self._round else 1
        if self._lost >= MOST_LOST:
            times = f"{self._lost} times in a row without finishing a round"
            self._close(order, f"{judgement.cause}, {times}; see {self._folder.logs}")
            return
        log.warning("run %d: %s; it is submitted again", order.number, judgement.cause)
        self.abandon()

    def _close(self, order: Order, cause: str) -> None:
        """End an order without a result; a person may continue it with ``--resume``."""
        self.abandon()
        self._orders.record(order.number, RunState.FAILED, cause)
        self._order = None
        log.warning("run %d ended: %s", order.number, cause)
        close_run(order, cause)


def _is_completed(order: Order) -> bool:
    """Return whether an order's run has its results."""
    try:
        return RunFolder(Path(order.run_dir)).is_completed()
    except RunFolderError:
        return False  # its submission says what is damaged
