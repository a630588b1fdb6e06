"""A simulation's grid: a few messages are under way at a time, and replies come one by one."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from flwr.app import Message

from fl_server.reply_grids import GridWrapper
from operation.flower_internals import InMemoryGrid

# Flower's simulation polls for replies ten times a second; one poll takes microseconds.
POLL_SECONDS = 0.02
# Flower looks at this interval whether the run has ended.
IDLE_SECONDS = 0.5


class SimulatedGrid(GridWrapper):
    """Flower's grid in a simulation, for any number of clients.

    Flower's own sends all messages at once and returns all replies together. Here a message is sent
    when fewer than ``window`` are under way, or answered before their turn. So a strategy that
    takes one reply after the other needs the same memory for any number of clients.

    Flower delivers messages by asking ten times a second for those of every node, each time looking
    at all. Here it is given a node's own, and as soon as they are sent.

    Args:
        grid: Flower's.
        window: more than the number of clients that compute at the same time, so that none of them
            waits.
    """

    def __init__(self, grid: InMemoryGrid, window: int) -> None:
        super().__init__(grid)
        self._window = window
        self._undelivered: dict[int, list[Message]] = {}
        self._changed = threading.Condition()
        self._first_node: int | None = None
        grid.state.get_message_ins = self._deliver  # type: ignore[method-assign]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages to the nodes."""
        pushed = list(messages)
        with self._changed:
            ids = list(self._grid.push_messages(pushed))
            for message in pushed:
                self._undelivered.setdefault(message.metadata.dst_node_id, []).append(message)
            self._changed.notify()
        return ids

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages; yield the replies as they come, until ``timeout`` seconds have passed.

        Nothing is sent before the first reply is taken.
        """
        waiting, sent, answered = deque(messages), deque[str](), set[str]()
        end = None if timeout is None else time.monotonic() + timeout
        while waiting or sent:
            room = min(len(waiting), self._window - len(sent))
            if room:
                sent.extend(self.push_messages(waiting.popleft() for _ in range(room)))
            come = deque(self._grid.pull_messages([one for one in sent if one not in answered]))
            answered.update(reply.metadata.reply_to_message_id for reply in come)
            while sent and sent[0] in answered:
                answered.remove(sent.popleft())
            if not come:
                if end is not None and time.monotonic() > end:
                    return
                time.sleep(POLL_SECONDS)
            while come:
                yield come.popleft()

    def _deliver(
        self, node_id: int, limit: int | None, *, run_id: int | None = None
    ) -> list[Message]:
        """Return a node's messages that were not delivered yet; Flower asks for every node in turn.

        Of the first node it waits a while for messages to any.
        """
        with self._changed:
            if self._first_node is None:
                self._first_node = node_id
            if node_id == self._first_node:
                self._changed.wait_for(lambda: self._undelivered, IDLE_SECONDS)
            delivered = self._undelivered.pop(node_id, [])
        for message in delivered:
            message.metadata.delivered_at = datetime.now(UTC).isoformat()
        return delivered
