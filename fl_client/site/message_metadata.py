"""A message's metadata: sender, receiver and kind of message.

A message has them twice: beside it, as Flower delivers it, and in its own object, which the other
side reads.
"""

import time
from typing import NamedTuple

from flwr.app import Message

from operation.flower_internals import ProtoMetadata, metadata_to_proto
from strategies.message_objects import Opened

# Clocks are read twice for one message.
_TOLERANCE_SECONDS = 1.0


class Moment(NamedTuple):
    """A moment by two clocks, since the clock for message timestamps may be set at any time."""

    stamp: float  # seconds since 1970
    steady: float  # seconds of a monotonic clock

    @classmethod
    def now(cls) -> "Moment":
        """Read both clocks."""
        return cls(time.time(), time.monotonic())


def metadata_agrees(opened: Opened, message: Message) -> bool:
    """Return whether a message's own object agrees with the metadata that it came with."""
    inner, outer = opened.metadata, message.metadata
    return (inner.run_id, inner.dst_node_id, inner.message_type, opened.tree.object_id) == (
        outer.run_id,
        outer.dst_node_id,
        outer.message_type,
        outer.message_id,
    )


def is_reply_to(asked: Opened, since: Moment, reply: Opened, delivered: Message) -> bool:
    """Return whether a reply's object and metadata contain nothing except the reply to a message.

    Args:
        delivered: the reply as the app delivered it.
    """
    inside, outside = reply.metadata, metadata_to_proto(delivered.metadata)
    now = Moment.now()
    elapsed = now.steady - since.steady
    # If the clock was set in the meantime, both measurements of the time are accepted.
    earliest = min(since.stamp, now.stamp - elapsed) - _TOLERANCE_SECONDS
    latest = max(now.stamp, since.stamp + elapsed) + _TOLERANCE_SECONDS
    return all(
        _is_reply_to(asked, stated, message_id) and earliest <= stated.created_at <= latest
        for stated, message_id in ((inside, ""), (outside, reply.tree.object_id))
    )


def _is_reply_to(asked: Opened, stated: ProtoMetadata, message_id: str) -> bool:
    question = asked.metadata
    expected = ProtoMetadata(
        run_id=question.run_id,
        message_id=message_id,
        src_node_id=question.dst_node_id,
        dst_node_id=question.src_node_id,
        reply_to_message_id=asked.tree.object_id,
        group_id=question.group_id,
        message_type=question.message_type,
        created_at=stated.created_at,
        ttl=stated.ttl,
    )
    if question.HasField("dst_task_id"):
        expected.src_task_id = question.dst_task_id
    if question.HasField("src_task_id"):
        expected.dst_task_id = question.src_task_id
    expires = question.created_at + question.ttl
    return (
        # Compared as bytes, so that fields unknown to this version count, too.
        stated.SerializeToString(deterministic=True)
        == expected.SerializeToString(deterministic=True)
        and abs(stated.created_at + stated.ttl - expires) <= _TOLERANCE_SECONDS
    )
