"""What a reply may lay down at the SuperLink: as much as it was announced with, and once.

Each attack is made twice: on Flower's app as it is, where it works, and on ours, where it does not.
"""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.proto.fleet_pb2 import (
    PushMessagesRequest,
)
from flwr.proto.message_pb2 import (
    PushObjectRequest,
)
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)

from operation.body_limits import LARGEST_BYTES
from tests.fl_server.coordinator.fleet_in_memory import Coordinator, Site, announcement, whole


def test_the_largest_that_a_site_sends_is_let_in() -> None:
    """A piece of an array, and the list of the objects of 1500 arrays, with room to spare."""
    arrays = {f"encoder.stages.{i}.weight": Array(np.full(2, i)) for i in range(1500)}
    message = whole(RecordDict({"arrays": ArrayRecord(arrays)}), src=2, dst=1, run=3)
    tree = get_object_tree(message)
    listed = PushMessagesRequest(message_object_trees=[tree]).ByteSize()
    piece = PushObjectRequest(
        run_id=2**63,
        session_id="-" * 36,
        object_id="0" * 64,
        object_content=bytes(FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE + 100),
    ).ByteSize()
    record = len(message.content.array_records["arrays"].deflate())
    assert max(listed, piece, record) < LARGEST_BYTES / 1.5


def test_a_reply_lays_down_no_more_objects_than_it_may(
    attacker: Site, asked: Message, checked: bool
) -> None:
    """A message of 6 objects, and 16 more are allowed: 23 are too many, of 8 MiB each."""
    assert len(get_all_nested_objects(asked)) == 6
    for arrays, allowed in ((9, True), (10, False)):
        # A message, a record dict, a record; an array and its chunk each: 3 + 2·arrays.
        reply = attacker.reply(asked, {f"w{i}": Array(np.full(1, i)) for i in range(arrays)})
        assert len(get_all_nested_objects(reply)) == 3 + 2 * arrays
        refused = attacker.status(announcement(attacker, reply)) == 403
        assert refused == (checked and not allowed)


def test_a_second_reply_to_one_message(attacker: Site, asked: Message, checked: bool) -> None:
    """Announced again and again, other objects each time would fill the memory."""
    first, second = attacker.reply(asked), attacker.reply(asked, later=1e-3)
    assert attacker.status(announcement(attacker, first)) == 200
    assert attacker.status(announcement(attacker, first)) == 200
    assert (attacker.status(announcement(attacker, second)) == 403) == checked


def test_one_reply_announced_with_other_objects(
    coordinator: Coordinator, attacker: Site, asked: Message, checked: bool
) -> None:
    """The id of a message names its objects; what Flower takes down is the tree beside it."""
    reply = attacker.reply(asked)
    assert attacker.status(announcement(attacker, reply)) == 200
    again = announcement(attacker, reply)
    again.message_object_trees[0].children.add(object_id="f" * 64)
    store = coordinator.state.object_store
    assert (attacker.status(again) == 403) == checked
    assert ("f" * 64 in store) != checked


def test_a_tree_that_becomes_larger_than_it_was_announced(
    coordinator: Coordinator, attacker: Site, asked: Message, checked: bool
) -> None:
    """Ten objects, each twice below the one before, become 2¹¹ - 1; forty would take all memory."""
    request = announcement(attacker, attacker.reply(asked))
    tree = node = request.message_object_trees[0]
    del tree.children[:]
    for number in range(10):
        twice = [node.children.add(object_id=f"{number:064x}") for _ in range(2)]
        node = twice[0]
    assert (attacker.status(request) == 403) == checked
    if not checked:
        written = coordinator.state.object_store.get_object_tree(tree.object_id)
        assert sum(1 for _ in iterate_object_tree(written)) == 2**11 - 1


@pytest.mark.parametrize("again", [True, False], ids=["in one reply", "in a later one"])
def test_an_object_with_other_children_than_before(
    attacker: Site, asked: Message, checked: bool, again: bool
) -> None:
    """Named without its children it would bring them along, and over some replies grow the same."""
    first = announcement(attacker, attacker.reply(asked))
    tree = first.message_object_trees[0]
    del tree.children[:]
    tree.children.add(object_id="a" * 64).children.add(object_id="b" * 64)
    if again:
        tree.children.add(object_id="c" * 64).children.add(object_id="a" * 64)
        assert (attacker.status(first) == 403) == checked
        return
    assert attacker.status(first) == 200
    later = announcement(attacker, attacker.reply(attacker.given(2)))
    later.message_object_trees[0].children.add(object_id="a" * 64)
    assert (attacker.status(later) == 403) == checked


def test_replies_announced_at_the_same_time(attacker: Site, asked: Message, checked: bool) -> None:
    """Each before any other is answered: objects of one of them are taken, not of all."""
    replies = [attacker.reply(asked, later=number * 1e-3) for number in range(8)]
    statuses = attacker.statuses([announcement(attacker, reply) for reply in replies])
    assert sum(status != 403 for status in statuses) == (1 if checked else 8)


def test_a_reply_that_flower_does_not_take_may_be_followed_by_another(
    attacker: Site, asked: Message
) -> None:
    """An id that is no sha256 is an error to Flower; the site may say so in place of its reply."""
    damaged = announcement(attacker, attacker.reply(asked))
    damaged.message_object_trees[0].children.add(object_id="no id")
    assert attacker.status(damaged) == 500
    assert attacker.status(announcement(attacker, attacker.reply(asked))) == 200


def test_an_error_of_half_a_megabyte(attacker: Site, asked: Message, checked: bool) -> None:
    request = announcement(attacker, attacker.reply(asked))
    (message,) = request.messages_list
    message.ClearField("content")
    message.error.code = 2
    message.error.reason = "x" * 500_000
    assert (attacker.status(request) == 403) == checked
    message.error.reason = "x" * 300
    assert attacker.status(request) == 200
