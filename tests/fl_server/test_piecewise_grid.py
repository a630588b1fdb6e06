"""Messages in pieces, against a SuperLink that keeps objects as the real one does."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.superlink.grid.http_grid import HttpGrid

from fl_server import piecewise_grid
from fl_server.piecewise_grid import PiecewiseGrid
from strategies.arrays import to_record, views
from tests.support import assert_same_bits

pytestmark = pytest.mark.usefixtures("flower_task")

# Of 5 MB each, Flower's limit: the array below takes three, the last one smaller.
LARGE = np.arange(3_000_000, dtype=np.float32)
ARRAYS = {"large": LARGE, "zeros": np.zeros(3_000_000, np.float32), "n": np.array(3)}


class SuperLink:
    """The requests of a ServerApp, answered from a dict of objects."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.unavailable: dict[str, int] = {}  # how often objects are still to be missing
        self.dropped: set[str] = set()  # ids of objects that are not wanted any more
        self.pushed: list[str] = []
        self.confirmed: list[str] = []
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
        """A reply, as it lies here when a site has pushed it."""
        reply = Message(content, reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        for name, found in get_all_nested_objects(reply).items():
            self.objects[name] = found.deflate()
        self.replies.append(reply)
        return reply


def _below(trees: Any) -> set[str]:
    return {name for tree in trees for name in {tree.object_id, *_below(tree.children)}}


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def grid(superlink: SuperLink) -> PiecewiseGrid:
    flower = SimpleNamespace(
        _runtime_client=superlink, node=Node(node_id=1), run=SimpleNamespace(run_id=5)
    )
    return PiecewiseGrid(cast(HttpGrid, flower))


def question() -> Message:
    content = RecordDict({"arrays": to_record(ARRAYS), "config": ConfigRecord({"round": 1})})
    return Message(content, 7, "train")


def sent(grid: PiecewiseGrid) -> Message:
    message = question()
    assert list(grid.push_messages([message])) == [message.metadata.message_id]
    return message


def test_what_is_pushed_is_what_flower_would_push(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    message = sent(grid)
    expected = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    assert superlink.objects == expected
    assert sorted(superlink.pushed) == sorted(expected)  # each once
    # The message, its records, the two of them and 3 arrays, before their 3 + 3 + 1 chunks.
    kinds = [superlink.objects[name].split(b" ")[0] for name in superlink.pushed]
    assert set(kinds[7:]) == {b"ArrayChunk"}
    assert b"ArrayChunk" not in kinds[:7]


def test_a_site_that_is_lost_while_it_is_asked_takes_nothing_from_the_others(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    """The SuperLink drops what is for it, and goes on to take what is for all."""
    lost, there = question(), question()
    lost.metadata.created_at = 0.0  # so that they are not one and the same
    superlink.dropped = {lost.object_id}
    assert len(grid.push_messages([lost, there])) == 2
    assert superlink.objects.keys() == get_all_nested_objects(there).keys()


def test_messages_share_what_they_have_in_common(superlink: SuperLink, grid: PiecewiseGrid) -> None:
    arrays = to_record(ARRAYS)
    messages = [Message(RecordDict({"arrays": arrays}), node, "train") for node in (3, 7)]
    grid.push_messages(messages)
    # Two messages and one content: a record dict, a record, 3 arrays, 3 + 2 + 1 chunks; of the
    # zeros' three the first begins with a header and the two others differ in length.
    assert len(superlink.pushed) == 2 + 1 + 1 + 3 + (3 + 3 + 1)


def test_a_reply_is_read_to_the_bit_into_memory_of_its_own(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    message = sent(grid)
    assert grid.arrivals([message.metadata.message_id]) == []
    content = RecordDict(
        {"arrays": to_record(ARRAYS), "metrics": MetricRecord({"num-examples": 3})}
    )
    there = superlink.answer(message, content)
    (arrival,) = grid.arrivals([message.metadata.message_id])
    assert (arrival.message, arrival.error) == (message.metadata.message_id, None)
    assert superlink.confirmed == []
    reply = grid.read(arrival, message)
    assert superlink.confirmed == [there.metadata.message_id] == [reply.metadata.message_id]
    assert reply.metadata.reply_to_message_id == message.metadata.message_id
    assert reply.content["metrics"] == content["metrics"]
    record = reply.content["arrays"]
    assert isinstance(record, ArrayRecord)
    assert_same_bits(views(record), ARRAYS)
    assert all(array.flags.writeable for array in views(record).values())
    assert record.object_id == to_record(ARRAYS).object_id  # it could be sent on as it is


def test_a_reply_is_read_while_it_comes(
    superlink: SuperLink, grid: PiecewiseGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piecewise_grid, "_LOOK_SECONDS", 0.001)
    message = sent(grid)
    there = superlink.answer(message, RecordDict({"arrays": to_record(ARRAYS)}))
    superlink.unavailable = dict.fromkeys(get_all_nested_objects(there), 5)
    (arrival,) = grid.arrivals([message.metadata.message_id])
    record = grid.read(arrival, message).content["arrays"]
    assert isinstance(record, ArrayRecord)
    assert_same_bits(views(record), ARRAYS)


def test_an_error_is_known_before_it_is_read(superlink: SuperLink, grid: PiecewiseGrid) -> None:
    message = sent(grid)
    superlink.answer(message, Error(ErrorCode.NODE_UNAVAILABLE, "gone"))
    (arrival,) = grid.arrivals([message.metadata.message_id])
    assert arrival.error is not None
    assert (arrival.error.code, arrival.error.reason) == (ErrorCode.NODE_UNAVAILABLE, "gone")


@pytest.mark.parametrize("which", [Array, RecordDict])
def test_a_reply_whose_parts_are_missing_is_an_error(
    superlink: SuperLink, grid: PiecewiseGrid, which: type
) -> None:
    message = sent(grid)
    there = superlink.answer(message, RecordDict({"arrays": to_record({"w": LARGE + 1})}))
    missing = next(n for n, one in get_all_nested_objects(there).items() if type(one) is which)
    if which is Array:
        missing = superlink.objects[missing].split(b" ")[1].split(b",")[-1].decode()
    del superlink.objects[missing]
    (arrival,) = grid.arrivals([message.metadata.message_id])
    reply = grid.read(arrival, message)
    assert reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert missing in str(reply.error.reason)
    assert superlink.confirmed == []


@pytest.mark.parametrize("damage", [b"Array  3\0{}]", b"Array  2\0{}", b"no object at all"])
def test_a_reply_that_flower_would_not_write_is_an_error_of_its_site(
    superlink: SuperLink, grid: PiecewiseGrid, damage: bytes
) -> None:
    """No error that asking again would mend."""
    message = sent(grid)
    there = superlink.answer(message, RecordDict({"arrays": to_record({"w": LARGE + 1})}))
    (array,) = (n for n, one in get_all_nested_objects(there).items() if type(one) is Array)
    superlink.objects[array] = damage
    (arrival,) = grid.arrivals([message.metadata.message_id])
    reply = grid.read(arrival, message)
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert str(reply.error.reason).startswith("its reply is damaged: ")
