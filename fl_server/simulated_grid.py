"""A simulation's grid: a few messages are under way at a time, and replies come one by one."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from queue import Empty, Queue

from flwr.app import Message

from fl_server.reply_grids import GridWrapper
from operation.flower_internals import InMemoryGrid

# At this interval it is looked for replies that Flower makes itself, to messages that are too old.
LOOK_SECONDS = 1.0
# Flower looks at this interval whether the run has ended.
IDLE_SECONDS = 0.5


class SimulatedGrid(GridWrapper):
    """Flower's grid in a simulation, for any number of clients.

    Flower's own sends all messages at once and returns all replies together. Here a message is sent
    when fewer than ``window`` are under way, or answered before their turn. So a strategy that
    takes one reply after the other needs the same memory for any number of clients.

    Flower delivers messages by asking ten times a second for those of every node, each time looking
    at all, and looks ten times a second for replies. Here it is given a message as soon as it is
    sent, and a reply is taken as soon as it is there.

    Args:
        grid: Flower's.
        window: more than the number of clients that compute at the same time, so that none of them
            waits.
    """

    def __init__(self, grid: InMemoryGrid, window: int) -> None:
        super().__init__(grid)
        self._window = window
        self._undelivered = Queue[Message]()
        self._first_node: int | None = None
        self._come = threading.Condition()
        self._num_come = 0
        self._store_reply = grid.state.store_message_res
        grid.state.get_message_ins = self._deliver  # type: ignore[assignment, method-assign]
        grid.state.store_message_res = self._store  # type: ignore[method-assign]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages to the nodes."""
        pushed = list(messages)
        ids = list(self._grid.push_messages(pushed))
        for message in pushed:
            self._undelivered.put(message)
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
            num_come = self._num_come
            come = deque(self._grid.pull_messages([one for one in sent if one not in answered]))
            answered.update(reply.metadata.reply_to_message_id for reply in come)
            while sent and sent[0] in answered:
                answered.remove(sent.popleft())
            if not come:
                left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - time.monotonic())
                if left <= 0:
                    return
                with self._come:
                    self._come.wait_for(lambda: self._num_come > num_come, left)  # noqa: B023
            while come:
                yield come.popleft()

    def _deliver(
        self, node_id: int, limit: int | None, *, run_id: int | None = None
    ) -> Iterator[Message]:
        """Yield messages to any node as they are sent, until none was for some time.

        Flower asks for every node's messages in turn, each time takes all that it is given, and
        waits between two turns: all messages are given to it as the first node's.
        """
        if self._first_node is None:
            self._first_node = node_id
        while node_id == self._first_node:
            try:
                message = self._undelivered.get(timeout=IDLE_SECONDS)
            except Empty:
                return
            message.metadata.delivered_at = datetime.now(UTC).isoformat()
            yield message

    def _store(self, message: Message) -> str | None:
        """Store a reply, and wake who waits for it."""
        stored = self._store_reply(message)
        with self._come:
            self._num_come += 1
            self._come.notify_all()
        return stored
