"""Sites without processes: each one's connection and answers follow a script."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo

from fl_server.streaming_grid import Arrival, StreamingGrid
from tests.support import MemoryGrid

# A site's reaction to a message: an answer, an error's code, or None for silence.
Answer = Callable[[Message], Message | None] | int | None


class SitesInMemory(MemoryGrid, StreamingGrid):
    """A grid as Flower's, whose sites follow scripts.

    Args:
        scripts: by node id, what the site makes of the first message, the second, and so on.
        connected: by node id, for each look at the grid since when the site is connected, None
            while it is not; the last goes on for ever. Those that are not named always are.
    """

    def __init__(
        self,
        scripts: dict[int, Sequence[Answer]],
        connected: dict[int, Sequence[str | None]] | None = None,
    ) -> None:
        MemoryGrid.__init__(self, {})
        self.scripts = {node: list(script) for node, script in scripts.items()}
        self.connected = {node: list(looks) for node, looks in (connected or {}).items()}
        self.replies: dict[str, Message] = {}
        self.seen: set[str] = set()
        self.trickling: set[int] = set()  # sites whose replies never come completely
        self.released: list[str] = []

    def get_nodes(self) -> Iterable[NodeInfo]:
        found = {node: self._look(node) for node in self.scripts}
        return [
            NodeInfo(node_id=node, last_activated_at=since)
            for node, since in found.items()
            if since is not None
        ]

    def _look(self, node: int) -> str | None:
        looks = self.connected.get(node, ["always"])
        return looks.pop(0) if len(looks) > 1 else looks[0]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            self.sent.append(message)
            ids.append(f"message {len(self.sent)}")
            message.metadata.__dict__["_message_id"] = ids[-1]
            answer = self.scripts[message.metadata.dst_node_id].pop(0)
            if isinstance(answer, int):
                reason = f"error {answer}"
                self.replies[ids[-1]] = Message(Error(answer, reason), reply_to=message)
            elif answer is not None and (reply := answer(message)) is not None:
                self.replies[ids[-1]] = reply
        return ids

    def arrivals(self, message_ids: Sequence[str]) -> list[Arrival]:
        come = [name for name in message_ids if name in self.replies and name not in self.seen]
        self.seen |= set(come)
        found = []
        for name in reversed(come):
            reply = self.replies[name]
            error = reply.error if reply.has_error() else None
            found.append(Arrival(name, error, f"root of {name}"))
        return found

    def read(self, arrival: Arrival, question: Message, deadline: float = math.inf) -> Message:
        reply = self.replies.pop(arrival.message)
        if question.metadata.dst_node_id in self.trickling:
            time.sleep(max(0.0, deadline - time.monotonic()))
            lost = Error(ErrorCode.MESSAGE_UNAVAILABLE, "a part could not be found")
            return Message(lost, reply_to=question)
        return reply

    def release(self, root: str) -> None:
        self.released.append(root)

    def asked(self) -> list[int]:
        """The nodes in the order in which messages were sent to them."""
        return [message.metadata.dst_node_id for message in self.sent]


GONE = ErrorCode.NODE_UNAVAILABLE
CRASHED = ErrorCode.CLIENT_APP_CRASHED
REFUSED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
