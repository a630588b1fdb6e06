"""Replies in pieces, in which an attacker has changed an object."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_server.streaming_grid import Arrival, StreamingGrid
from strategies import message_objects
from strategies.layout import Layout
from tests.changed_messages import body, rebuilt, with_body
from tests.fl_server.superlink_in_memory import (
    METRICS,
    SuperLink,
    ask,
    one_more,
)

pytestmark = pytest.mark.usefixtures("flower_task")


def read_changed(
    superlink: SuperLink, grid: StreamingGrid, kind: bytes, change: Callable[[bytes], bytes]
) -> Message:
    """Read a reply with one changed object, and new ids for all objects above it."""
    message = ask(grid)
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
    grid: StreamingGrid,
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
    superlink: SuperLink, grid: StreamingGrid
) -> None:
    """Each might be 8 MiB, and as many as a model has chunks can be announced."""
    more = [f"{number:064x}" for number in range(3)]
    superlink.objects |= dict.fromkeys(more, b"Array  2\0{}" + bytes(1000))
    reply = read_changed(superlink, grid, b"ArrayRecord", with_children(*more))
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert not set(superlink.pulled) & set(more)


def test_an_array_whose_list_of_chunks_takes_megabytes_is_not_parsed(
    superlink: SuperLink, grid: StreamingGrid, monkeypatch: pytest.MonkeyPatch
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
    superlink: SuperLink, grid: StreamingGrid, junk: bytes
) -> None:
    reply = read_changed(superlink, grid, b"ArrayRecord", lambda c: with_body(c, junk))
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    fetched = [superlink.objects[name].startswith(b"Array ") for name in superlink.pulled]
    assert not any(fetched)


def test_records_that_are_too_large_are_not_looked_into(
    superlink: SuperLink, grid: StreamingGrid
) -> None:
    reply = read_changed(
        superlink, grid, b"MetricRecord", lambda c: with_body(c, body(c) + bytes(100_000))
    )
    assert "a record of it is larger than 65536 bytes: metrics" in str(reply.error.reason)


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_bytes_come_the_site_is_refused_and_nothing_else_happens(
    superlink: SuperLink, grid: StreamingGrid, data: st.DataObject
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
