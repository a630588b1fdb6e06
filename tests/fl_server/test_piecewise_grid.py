"""Messages in pieces, against a SuperLink that keeps objects as the real one does."""

import json
from collections.abc import Callable
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_server import piecewise_grid
from fl_server.piecewise_grid import Arrival, PiecewiseGrid
from strategies import message_objects
from strategies.arrays import to_record, views
from strategies.layout import Layout
from tests.changed_messages import body, rebuilt, with_body
from tests.support import assert_same_bits

pytestmark = pytest.mark.usefixtures("flower_task")

# Of 5 MB each, Flower's limit: the array below takes three, the last one smaller.
LARGE = np.arange(3_000_000, dtype=np.float32)
ARRAYS = {"large": LARGE, "zeros": np.zeros(3_000_000, np.float32), "n": np.array([3])}


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


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def grid(superlink: SuperLink) -> PiecewiseGrid:
    flower = SimpleNamespace(
        _runtime_client=superlink, node=Node(node_id=1), run=SimpleNamespace(run_id=5)
    )
    return PiecewiseGrid(cast(HttpGrid, flower))


LAYOUT = Layout.of(ARRAYS)
RECORD = LAYOUT.flatten(ARRAYS)
METRICS = {"num-examples": 3, "train-loss": 0.5, "optimizer-round": 0, "seconds-message": 1.0}


def question() -> Message:
    config = ConfigRecord({"round": 1})
    content = RecordDict({"arrays": RECORD, "layout": LAYOUT.record(), "config": config})
    return Message(content, 7, "train")


def honest() -> RecordDict:
    return RecordDict({"arrays": LAYOUT.flatten(ARRAYS), "metrics": MetricRecord(METRICS)})


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
    # The message, its records, the three of them and 2 arrays, before their 5 + 1 chunks.
    kinds = [superlink.objects[name].split(b" ")[0] for name in superlink.pushed]
    assert set(kinds[7:]) == {b"ArrayChunk"}
    assert b"ArrayChunk" not in kinds[:7]


def test_a_site_that_is_lost_while_it_is_asked_takes_nothing_from_the_others(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    """The SuperLink drops its objects, and still accepts those for all sites."""
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
    content = honest()
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
    assert_same_bits(LAYOUT.views(record), ARRAYS)
    assert all(array.flags.writeable for array in views(record).values())
    assert record.object_id == RECORD.object_id  # it could be sent on as it is


def test_a_reply_is_read_while_it_comes(
    superlink: SuperLink, grid: PiecewiseGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piecewise_grid, "_LOOK_SECONDS", 0.001)
    message = sent(grid)
    there = superlink.answer(message, honest())
    superlink.unavailable = dict.fromkeys(get_all_nested_objects(there), 5)
    (arrival,) = grid.arrivals([message.metadata.message_id])
    record = grid.read(arrival, message).content["arrays"]
    assert isinstance(record, ArrayRecord)
    assert_same_bits(LAYOUT.views(record), ARRAYS)


def test_an_error_is_known_before_it_is_read(superlink: SuperLink, grid: PiecewiseGrid) -> None:
    message = sent(grid)
    superlink.answer(message, Error(ErrorCode.NODE_UNAVAILABLE, "gone"))
    (arrival,) = grid.arrivals([message.metadata.message_id])
    assert arrival.error is not None
    assert (arrival.error.code, arrival.error.reason) == (ErrorCode.NODE_UNAVAILABLE, "gone")


def one_more() -> RecordDict:
    """A valid reply that shares no array with the message."""
    content = honest()
    content["arrays"] = LAYOUT.flatten({name: array + 1 for name, array in ARRAYS.items()})
    return content


@pytest.mark.parametrize("which", [Array, RecordDict])
def test_a_reply_whose_parts_are_missing_is_an_error(
    superlink: SuperLink, grid: PiecewiseGrid, which: type
) -> None:
    message = sent(grid)
    there = superlink.answer(message, one_more())
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
    there = superlink.answer(message, one_more())
    array = next(n for n, one in get_all_nested_objects(there).items() if type(one) is Array)
    superlink.objects[array] = damage
    (arrival,) = grid.arrivals([message.metadata.message_id])
    reply = grid.read(arrival, message)
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert "its objects are not as Flower writes them" in str(reply.error.reason)
    # Refused for good: the SuperLink lets go of its objects.
    assert superlink.confirmed == [there.metadata.message_id]


def read_changed(
    superlink: SuperLink, grid: PiecewiseGrid, kind: bytes, change: Callable[[bytes], bytes]
) -> Message:
    """Read a reply with one changed object, and new ids for all objects above it."""
    message = sent(grid)
    reply = Message(one_more(), reply_to=message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    root, objects = rebuilt(reply, kind, change)
    superlink.objects |= objects
    superlink.pulled = []
    return grid.read(Arrival(message.metadata.message_id, None, root), message)


def with_chunks(*indices: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        stated = json.loads(body(content))
        return with_body(content, json.dumps({**stated, "arraychunk_ids": indices}).encode())

    return change


@pytest.mark.parametrize(
    "chunks, pieces, said",
    [
        ((0, 1, 2, 3) + (4,) * 500, 0, "an array has more data than its values take"),
        ((0, 1, 2, 3, 4, 4), 6, "an array's data does not match its declaration"),
        ((0, 0, 0, 0, 0), 0, "its objects are not as Flower writes them"),
        ((4, 1, 2, 3, 0), 0, "its objects are not as Flower writes them"),
    ],
)
def test_a_chunk_that_is_named_again_and_again_takes_no_memory(
    superlink: SuperLink,
    grid: PiecewiseGrid,
    chunks: tuple[int, ...],
    pieces: int,
    said: str,
) -> None:
    """24 MB in five chunks: 504 names would make 2.5 GB, and none of them is fetched."""
    reply = read_changed(superlink, grid, b"Array", with_chunks(*chunks))
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert said in str(reply.error.reason)
    fetched = [superlink.objects[name].startswith(b"ArrayChunk") for name in superlink.pulled]
    assert sum(fetched) <= pieces


def with_children(*more: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        head, _, rest = content.partition(b"\0")
        kind, children, size = head.split(b" ")
        return b"%s %s %s\0%s" % (kind, b",".join([children, *map(str.encode, more)]), size, rest)

    return change


def test_an_array_that_no_name_stands_for_is_not_fetched(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    """Each might be 8 MiB, and as many as a model has chunks can be announced."""
    more = [f"{number:064x}" for number in range(3)]
    superlink.objects |= dict.fromkeys(more, b"Array  2\0{}" + bytes(1000))
    reply = read_changed(superlink, grid, b"ArrayRecord", with_children(*more))
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert not set(superlink.pulled) & set(more)


def test_an_array_whose_list_of_chunks_takes_megabytes_is_not_parsed(
    superlink: SuperLink, grid: PiecewiseGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 MB of JSON are 60 MB of Python's objects, for each array."""
    parsed = []
    parse = message_objects.parse_json
    monkeypatch.setattr(
        message_objects, "parse_json", lambda text: parsed.append(len(text)) or parse(text)
    )
    reply = read_changed(superlink, grid, b"Array", with_chunks(*[0] * 2_000_000))
    assert "an array has more data than its values take" in str(reply.error.reason)
    assert max(parsed) < 10_000


@pytest.mark.parametrize("junk", [b"[" + b"[]," * 2_000_000 + b"[]]", b"{}", b"null"])
def test_a_list_of_arrays_that_is_another_is_refused(
    superlink: SuperLink, grid: PiecewiseGrid, junk: bytes
) -> None:
    reply = read_changed(superlink, grid, b"ArrayRecord", lambda c: with_body(c, junk))
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    fetched = [superlink.objects[name].startswith(b"Array ") for name in superlink.pulled]
    assert not any(fetched)


def test_records_that_are_too_large_are_not_looked_into(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    reply = read_changed(
        superlink, grid, b"MetricRecord", lambda c: with_body(c, body(c) + bytes(100_000))
    )
    assert "a record of it is larger than 65536 bytes: metrics" in str(reply.error.reason)


def test_a_record_more_is_not_fetched(superlink: SuperLink, grid: PiecewiseGrid) -> None:
    message = sent(grid)
    content = honest()
    content["patients"] = ConfigRecord({"a": "b"})
    superlink.answer(message, content)
    (arrival,) = grid.arrivals([message.metadata.message_id])
    superlink.pulled = []
    reply = grid.read(arrival, message)
    assert "its records are not those declared" in str(reply.error.reason)
    assert len(superlink.pulled) == 2  # the message and its list of records


def test_a_reply_answers_what_it_was_read_for_whatever_it_says(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    """Else a site could answer in another's place: whose weights count is told by this id."""
    mine, others = question(), question()
    others.metadata.created_at = 0.0
    grid.push_messages([mine, others])
    there = superlink.answer(others, honest())
    root = there.metadata.message_id
    reply = grid.read(Arrival(mine.metadata.message_id, None, root), mine)
    assert reply.metadata.reply_to_message_id == mine.metadata.message_id
    assert reply.metadata.src_node_id == mine.metadata.dst_node_id


def test_an_error_that_comes_as_an_answer_is_refused(
    superlink: SuperLink, grid: PiecewiseGrid
) -> None:
    message = sent(grid)
    there = superlink.answer(message, Error(ErrorCode.UNKNOWN, "x"))
    reply = grid.read(
        Arrival(message.metadata.message_id, None, there.metadata.message_id), message
    )
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION


@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN, -1, 99, 2**31 - 1])
def test_no_site_says_that_a_process_of_ours_died(
    superlink: SuperLink, grid: PiecewiseGrid, code: int
) -> None:
    """Code 0 is what a simulation's Flower says then, and the run would end."""
    message = sent(grid)
    superlink.answer(message, Error(code, "first\n\x1b[2J" + "y" * 500_000))
    (arrival,) = grid.arrivals([message.metadata.message_id])
    assert arrival.error is not None
    assert arrival.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert str(arrival.error.reason).isprintable()
    assert len(str(arrival.error.reason)) == 300


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_bytes_come_the_site_is_refused_and_nothing_else_happens(
    superlink: SuperLink, grid: PiecewiseGrid, data: st.DataObject
) -> None:
    """Some bytes of one object are others; the objects above it are named by the new ones."""
    small = Layout({"w": ("float32", (2, 3)), "n": ("int64", (1,))})
    arrays = {"w": np.ones((2, 3), np.float32), "n": np.array([3])}
    config = ConfigRecord({"round": 1})
    records = {"arrays": small.flatten(arrays), "layout": small.record(), "config": config}
    message = Message(RecordDict(records), 7, "train")
    grid.push_messages([message])
    arrays["w"] += 1
    content = RecordDict({"arrays": small.flatten(arrays), "metrics": MetricRecord(METRICS)})
    honest_reply = Message(content, reply_to=message)
    honest_reply.metadata.__dict__["_message_id"] = honest_reply.object_id
    kinds = ["Message", "RecordDict", "ArrayRecord", "MetricRecord", "Array", "ArrayChunk"]
    kind = data.draw(st.sampled_from(kinds)).encode()

    def change(found: bytes) -> bytes:
        start = data.draw(st.integers(len(kind) + 1, len(found)))
        gone = data.draw(st.integers(0, 20))
        long = [b"[" * 2000, b"9" * 5000]
        some = st.sampled_from([*long, b'"', b"{", b"0", b"\xff\xfe", b",,", b" "])
        new = data.draw(st.one_of(st.binary(max_size=20), some))
        return found[:start] + new + found[start + gone :]

    root, objects = rebuilt(honest_reply, kind, change)
    superlink.objects |= objects
    reply = grid.read(Arrival(message.metadata.message_id, None, root), message)
    assert reply.metadata.reply_to_message_id == message.metadata.message_id
    if reply.has_error():
        assert str(reply.error.reason).isprintable()
    else:
        assert small.views(reply.content.array_records["arrays"])["w"].shape == (2, 3)
