"""A SuperLink that keeps objects as the real one does, and a message with replies to it."""

from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from fl_server.streaming_grid import Arrival, StreamingGrid
from strategies.layout import Layout

# Of 5 MB each, Flower's limit: the array below takes three, the last one smaller.
LARGE = np.arange(3_000_000, dtype=np.float32)
ARRAYS = {"large": LARGE, "zeros": np.zeros(3_000_000, np.float32), "n": np.array([3])}


LAYOUT = Layout.of(ARRAYS)
RECORD = LAYOUT.flatten(ARRAYS)
METRICS = {"num-examples": 3, "train-loss": 0.5, "optimizer-round": 0, "seconds-message": 1.0}


class SuperLink:
    """The requests of a ServerApp, answered from a dict of objects."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.unavailable: dict[str, int] = {}  # how often objects are still to be missing
        self.dropped: set[str] = set()  # ids of objects that are not wanted any more
        self.pushed: list[str] = []
        self.confirmed: list[str] = []
        self.pulled: list[str] = []
        self.replies: list[Message] = []

    def PushMessages(self, request: PushAppMessagesRequest) -> PushAppMessagesResponse:
        names = {tree.object_id for tree in request.message_object_trees}
        return PushAppMessagesResponse(
            message_ids=[m.metadata.message_id for m in request.messages_list],
            objects_to_push=names | _below(request.message_object_trees),
        )

    def PushObject(self, request: PushObjectRequest) -> PushObjectResponse:
        if request.object_id in self.dropped:
            return PushObjectResponse(stored=False)
        self.pushed.append(request.object_id)
        self.objects[request.object_id] = request.object_content
        return PushObjectResponse(stored=True)

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:
        asked = set(request.message_ids)
        come = [m for m in self.replies if m.metadata.reply_to_message_id in asked]
        return PullAppMessagesResponse(
            messages_list=[message_to_proto(remove_content_from_message(m)) for m in come],
            message_object_trees=[get_object_tree(m) for m in come],
        )

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:
        content = self.objects.get(request.object_id)
        self.pulled.append(request.object_id)
        if self.unavailable.get(request.object_id):
            self.unavailable[request.object_id] -= 1
            return PullObjectResponse(object_found=True)
        return PullObjectResponse(
            object_found=content is not None,
            object_available=content is not None,
            object_content=content or b"",
        )

    def ConfirmMessageReceived(
        self, request: ConfirmMessageReceivedRequest
    ) -> ConfirmMessageReceivedResponse:
        self.confirmed.append(request.message_object_id)
        return ConfirmMessageReceivedResponse()

    def answer(self, message: Message, content: RecordDict | Error) -> Message:
        """A reply, as stored here when a site has pushed it."""
        reply = Message(content, reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        for name, found in get_all_nested_objects(reply).items():
            self.objects[name] = found.deflate()
        self.replies.append(reply)
        return reply


def _below(trees: Any) -> set[str]:
    return {name for tree in trees for name in {tree.object_id, *_below(tree.children)}}


def question() -> Message:
    config = ConfigRecord({"round": 1})
    content = RecordDict({"arrays": RECORD, "layout": LAYOUT.record(), "config": config})
    return Message(content, 7, "train")


def honest() -> RecordDict:
    return RecordDict({"arrays": LAYOUT.flatten(ARRAYS), "metrics": MetricRecord(METRICS)})


def one_more() -> RecordDict:
    """A valid reply that shares no array with the message."""
    content = honest()
    content["arrays"] = LAYOUT.flatten({name: array + 1 for name, array in ARRAYS.items()})
    return content


def ask(grid: StreamingGrid) -> Message:
    message = question()
    assert list(grid.push_messages([message])) == [message.metadata.message_id]
    return message


def exchange(
    superlink: SuperLink, grid: StreamingGrid, content: RecordDict | Error
) -> tuple[Message, Message, Arrival]:
    """Ask a site; return the message, the answer as it is stored, and its arrival."""
    message = ask(grid)
    there = superlink.answer(message, content)
    (arrival,) = grid.arrivals([message.metadata.message_id])
    return message, there, arrival
