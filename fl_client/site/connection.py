"""Flower's connection as a node gets it, and what a site itself sends through it."""

import time
from collections.abc import Callable
from typing import NamedTuple

from flwr.app import Error, Message

from operation.flower_internals import (
    Fab,
    ObjectStore,
    ObjectTree,
    Run,
    get_object_tree,
    iterate_object_tree,
    set_message_id,
)
from operation.text import printable
from strategies.refusal import Refused

# After this long without further parts, a reply is given up.
STALLED_SECONDS = 60.0


class Connection(NamedTuple):
    """The callbacks that Flower's connection to a SuperLink gives to a node, in Flower's order."""

    node_id: int
    receive: Callable[[], tuple[Message, ObjectTree] | None]
    send: Callable[[Message, ObjectTree, float], tuple[set[str], str]]
    get_run: Callable[[int], Run]
    get_fab: Callable[[str, int], Fab]
    pull_object: Callable[[int, str], bytes]
    push_object: Callable[[int, str, str, bytes], None]
    confirm_message_received: Callable[[int, str], None]

    def send_error(self, message: Message, code: int, reason: str) -> None:
        """Answer a message with an error, whose reason is made `printable`."""
        reply = Message(Error(code, printable(reason)), reply_to=message)
        set_message_id(reply, reply.object_id)  # as Flower itself sets it
        run_id = message.metadata.run_id
        object_ids, session_id = self.send(reply, get_object_tree(reply), 0.0)
        for object_id in object_ids:
            self.push_object(run_id, session_id, object_id, reply.deflate())


def wait_until_whole(tree: ObjectTree, store: ObjectStore) -> None:
    """Wait until the app has written all objects of its reply.

    Raises:
        Refused: nothing more has come for `STALLED_SECONDS`.
    """
    missing = {node.object_id for node in iterate_object_tree(tree)}
    progressed = time.monotonic()
    while still := {object_id for object_id in missing if not store.get(object_id)}:
        if len(still) < len(missing):
            progressed = time.monotonic()
        elif time.monotonic() > progressed + STALLED_SECONDS:
            raise Refused("its reply did not arrive completely from the app")
        missing = still
        time.sleep(0.05)
