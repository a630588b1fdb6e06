"""Messages in pieces, against a SuperLink that keeps objects as the real one does."""

import time
from dataclasses import replace

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fl_server import streaming_grid
from fl_server.streaming_grid import Arrival, StreamingGrid
from strategies.arrays import to_record, views
from tests.fl_server.superlink_in_memory import (
    ARRAYS,
    LAYOUT,
    RECORD,
    SuperLink,
    ask,
    exchange,
    honest,
    one_more,
    question,
)
from tests.support import assert_same_bits

pytestmark = pytest.mark.usefixtures("flower_task")


def test_what_is_pushed_is_what_flower_would_push(
    superlink: SuperLink, grid: StreamingGrid
) -> None:
    message = ask(grid)
    expected = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    assert superlink.objects == expected
    assert sorted(superlink.pushed) == sorted(expected)  # each once
    # The message, its records, the three of them and 2 arrays, before their 5 + 1 chunks.
    kinds = [superlink.objects[name].split(b" ")[0] for name in superlink.pushed]
    assert set(kinds[7:]) == {b"ArrayChunk"}
    assert b"ArrayChunk" not in kinds[:7]


def test_a_site_that_is_lost_while_it_is_asked_takes_nothing_from_the_others(
    superlink: SuperLink, grid: StreamingGrid
) -> None:
    """The SuperLink drops its objects, and still accepts those for all sites."""
    lost, there = question(), question()
    lost.metadata.created_at = 0.0  # so that they are not one and the same
    superlink.dropped = {lost.object_id}
    assert len(grid.push_messages([lost, there])) == 2
    assert superlink.objects.keys() == get_all_nested_objects(there).keys()


def test_messages_share_what_they_have_in_common(superlink: SuperLink, grid: StreamingGrid) -> None:
    arrays = to_record(ARRAYS)
    messages = [Message(RecordDict({"arrays": arrays}), node, "train") for node in (3, 7)]
    grid.push_messages(messages)
    # Two messages and one content: a record dict, a record, 3 arrays, 3 + 2 + 1 chunks; of the
    # zeros' three the first begins with a header and the two others differ in length.
    assert len(superlink.pushed) == 2 + 1 + 1 + 3 + (3 + 3 + 1)


def test_a_reply_is_read_to_the_bit_into_memory_of_its_own(
    superlink: SuperLink, grid: StreamingGrid
) -> None:
    message = ask(grid)
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
    superlink: SuperLink, grid: StreamingGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_grid, "_LOOK_SECONDS", 0.001)
    message, there, arrival = exchange(superlink, grid, honest())
    superlink.unavailable = dict.fromkeys(get_all_nested_objects(there), 5)
    record = grid.read(arrival, message).content["arrays"]
    assert isinstance(record, ArrayRecord)
    assert_same_bits(LAYOUT.views(record), ARRAYS)


def test_an_error_is_known_before_it_is_read(superlink: SuperLink, grid: StreamingGrid) -> None:
    _, _, arrival = exchange(superlink, grid, Error(ErrorCode.NODE_UNAVAILABLE, "gone"))
    assert arrival.error is not None
    assert (arrival.error.code, arrival.error.reason) == (ErrorCode.NODE_UNAVAILABLE, "gone")


@pytest.mark.parametrize("which", [Array, RecordDict])
def test_a_reply_whose_parts_are_missing_is_an_error(
    superlink: SuperLink, grid: StreamingGrid, which: type
) -> None:
    message, there, arrival = exchange(superlink, grid, one_more())
    missing = next(n for n, one in get_all_nested_objects(there).items() if type(one) is which)
    if which is Array:
        missing = superlink.objects[missing].split(b" ")[1].split(b",")[-1].decode()
    del superlink.objects[missing]
    reply = grid.read(arrival, message)
    assert reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert missing in str(reply.error.reason)
    # What there is of it will not be read.
    assert superlink.confirmed == [there.metadata.message_id]


@pytest.mark.parametrize("which", [Array, RecordDict])
def test_parts_are_waited_for_until_the_deadline(
    superlink: SuperLink, grid: StreamingGrid, monkeypatch: pytest.MonkeyPatch, which: type
) -> None:
    """Announced, and never sent: a tenth of a second is waited, not for ever."""
    monkeypatch.setattr(streaming_grid, "_LOOK_SECONDS", 0.001)
    message, there, arrival = exchange(superlink, grid, one_more())
    late = next(n for n, one in get_all_nested_objects(there).items() if type(one) is which)
    superlink.unavailable[late] = 10**9
    started = time.monotonic()
    reply = grid.read(arrival, message, deadline=started + 0.1)
    assert 0.1 <= time.monotonic() - started < 5
    assert reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert superlink.confirmed == [there.metadata.message_id]


def test_what_is_there_is_read_after_the_deadline(
    superlink: SuperLink, grid: StreamingGrid
) -> None:
    """Others were read before it, and that took longer."""
    message, _, arrival = exchange(superlink, grid, honest())
    record = grid.read(arrival, message, deadline=time.monotonic() - 60).content["arrays"]
    assert isinstance(record, ArrayRecord)
    assert_same_bits(LAYOUT.views(record), ARRAYS)


@pytest.mark.parametrize("damage", [b"Array  3\0{}]", b"Array  2\0{}", b"no object at all"])
def test_a_reply_that_flower_would_not_write_is_an_error_of_its_site(
    superlink: SuperLink, grid: StreamingGrid, damage: bytes
) -> None:
    """No error that asking again would mend."""
    message, there, arrival = exchange(superlink, grid, one_more())
    array = next(n for n, one in get_all_nested_objects(there).items() if type(one) is Array)
    superlink.objects[array] = damage
    reply = grid.read(arrival, message)
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert "its objects are not as Flower writes them" in str(reply.error.reason)
    # Refused for good: the SuperLink lets go of its objects.
    assert superlink.confirmed == [there.metadata.message_id]


def test_a_record_more_is_not_fetched(superlink: SuperLink, grid: StreamingGrid) -> None:
    content = honest()
    content["patients"] = ConfigRecord({"a": "b"})
    message, _, arrival = exchange(superlink, grid, content)
    superlink.pulled = []
    reply = grid.read(arrival, message)
    assert "its records are not those declared" in str(reply.error.reason)
    assert len(superlink.pulled) == 2  # the message and its list of records


def test_a_reply_answers_what_it_was_read_for_whatever_it_says(
    superlink: SuperLink, grid: StreamingGrid
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
    superlink: SuperLink, grid: StreamingGrid
) -> None:
    message, _, arrival = exchange(superlink, grid, Error(ErrorCode.UNKNOWN, "x"))
    reply = grid.read(replace(arrival, error=None), message)
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION


@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN, -1, 99, 2**31 - 1])
def test_no_site_says_that_a_process_of_ours_died(
    superlink: SuperLink, grid: StreamingGrid, code: int
) -> None:
    """Code 0 is what a simulation's Flower says then, and the run would end."""
    _, _, arrival = exchange(superlink, grid, Error(code, "first\n\x1b[2J" + "y" * 500_000))
    assert arrival.error is not None
    assert arrival.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert str(arrival.error.reason).isprintable()
    assert len(str(arrival.error.reason)) == 300
