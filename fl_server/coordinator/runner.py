"""Processing a coordinator's orders one after the other."""

import logging
from collections.abc import Callable, Mapping

from fl_server.coordinator.control import Control, ControlError, ControlRefused
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Order, Orders, close_run
from fl_server.coordinator.sites import Sites
from fl_server.coordinator.submission import Judgement, Submission
from operation.errors import OperationError
from training.errors import ConfigError, RunFolderError
from training.run_state import RunState

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
            self._orders.record(order.number, RunState.COMPLETED)
            log.info("run %d is completed", order.number)
            self._order = self._submission = None
        elif judgement.state == RunState.FAILED and self._working():
            self._close(order, str(judgement.cause))
        elif judgement.state in (RunState.FAILED, RunState.LOST):
            self._try_again(order, submission, judgement)

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
