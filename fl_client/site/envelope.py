"""What stands on a message's envelope: who asks whom for what.

A message says it twice, in the envelope by which Flower delivers it and in its own object, which
the other side reads.
"""

import time

from flwr.app import Message
from flwr.common.serde_utils import metadata_to_proto
from flwr.proto.message_pb2 import Metadata as ProtoMetadata

from strategies.message_objects import Opened

# Clocks are read twice for one message.
_TOLERANCE_SECONDS = 1.0


def says_the_same(opened: Opened, message: Message) -> bool:
    """Tell whether a message's own object agrees with the envelope that it came in."""
    inner, outer = opened.metadata, message.metadata
    return (inner.run_id, inner.dst_node_id, inner.message_type, opened.tree.object_id) == (
        outer.run_id,
        outer.dst_node_id,
        outer.message_type,
        outer.message_id,
    )


def answers(asked: Opened, since: float, reply: Opened, envelope: Message) -> bool:
    """Tell whether a reply's object and envelope say nothing but that they answer a message.

    Args:
        asked: the message.
        since: when it came, in seconds since 1970.
        reply: the reply's object.
        envelope: the reply as the app handed it over.
    """
    inside, outside = reply.metadata, metadata_to_proto(envelope.metadata)
    return _answers(asked, since, inside, "") and _answers(
        asked, since, outside, reply.tree.object_id
    )


def _answers(asked: Opened, since: float, stated: ProtoMetadata, message_id: str) -> bool:
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
        # Bytes, so that a field that this version does not know is seen, too.
        stated.SerializeToString(deterministic=True)
        == expected.SerializeToString(deterministic=True)
        and since - _TOLERANCE_SECONDS <= stated.created_at <= time.time() + _TOLERANCE_SECONDS
        and abs(stated.created_at + stated.ttl - expires) <= _TOLERANCE_SECONDS
    )
