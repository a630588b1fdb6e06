"""Reading clients' replies: who answered, what is refused and why."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from strategies.arrays import num_bytes, views

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
NUM_EXAMPLES = "num-examples"

# What Flower puts before an app's own words: in a simulation, and at a site.
FRAME = re.compile(r"^(Exception ClientAppException occurred. Message: |<class '[\w.]+'>:<')")


class TooFewReplies(RuntimeError):
    """A round that fewer clients answered than the config allows, in one line."""


class ProcessLost(RuntimeError):
    """A client's process that died under a simulation, in one line.

    That is a crash of the machine that simulates, for instance for want of memory, and not the
    absence of a client: a round without it would be another result on every machine.
    """


@dataclass
class Reply:
    """One client's accepted answer.

    Attributes:
        client: the client's name.
        arrays: read-only views of its weights by name; empty for an evaluation.
        metrics: its metric record.
        num_bytes: size of its arrays on the wire.
    """

    client: str
    arrays: dict[str, NDArray]
    metrics: MetricRecord
    num_bytes: int


@dataclass
class Replies:
    """All that came back to one set of messages.

    Attributes:
        accepted: in the fixed order of the clients, whatever order they arrived in.
        failures: for every other client that was asked, why it is not among them.
    """

    accepted: list[Reply] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def refuse(self, client: str, reason: str) -> None:
        """Take an accepted reply out again."""
        self.accepted = [reply for reply in self.accepted if reply.client != client]
        self.failures[client] = reason


def read_replies(
    sent: Sequence[Message],
    replies: Iterable[Message],
    *,
    clients: Mapping[int, str],
    expected: Mapping[str, tuple[str, tuple[int, ...]]],
) -> Replies:
    """Match replies to the messages that they answer and refuse what does not fit.

    A reply is matched by the message that it answers, since an error reply may not carry the
    node that it speaks of.

    Args:
        sent: the messages, after they were sent.
        replies: what came back, in any order.
        clients: names by node id, in the fixed order of the clients.
        expected: dtype and shape of every array that a reply must carry; empty for none.

    Returns:
        Accepted replies and, by name, why the others are not. Numbers are not looked at here.

    Raises:
        ProcessLost: a simulated client's process died.
    """
    node_of = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
    result, answers = Replies(), {}
    for reply in replies:
        node = node_of.get(reply.metadata.reply_to_message_id)
        if node is not None:
            answers[node] = reply
    for node in (message.metadata.dst_node_id for message in sent):
        if node not in answers:
            result.failures[clients[node]] = "gave no answer in time"
    for node, name in clients.items():
        if node not in answers:
            continue
        try:
            result.accepted.append(_read(name, answers[node], expected))
        except ValueError as error:
            result.failures[name] = str(error)
    return result


def _read(
    client: str, message: Message, expected: Mapping[str, tuple[str, tuple[int, ...]]]
) -> Reply:
    if message.has_error():
        if message.error.code == ErrorCode.UNKNOWN:  # what Flower says when Ray lost an actor
            raise ProcessLost(
                f"the process of {client} died, perhaps for want of memory; --resume goes on "
                "from the last finished round"
            )
        raise ValueError(cause(message.error.reason))
    # Not .metric_records and .array_records: what these return holds the message in a circle, and
    # the clients' weights with it, until the garbage collector comes by.
    metrics = message.content.get(METRICS)
    if not isinstance(metrics, MetricRecord):
        raise ValueError(f"its reply has no record {METRICS!r}")
    examples = metrics.get(NUM_EXAMPLES)
    if not isinstance(examples, int) or examples < 0:
        raise ValueError(f"its {NUM_EXAMPLES} is {examples!r}, not a count")
    record = message.content.get(ARRAYS, ArrayRecord())
    if not isinstance(record, ArrayRecord):
        raise ValueError(f"its record {ARRAYS!r} holds no arrays")
    arrays = views(record)
    missing, surplus = expected.keys() - arrays.keys(), arrays.keys() - expected.keys()
    if missing or surplus:
        name = min(missing or surplus)
        raise ValueError(f"its reply {'lacks' if missing else 'has an unknown'} array {name!r}")
    for name, (dtype, shape) in expected.items():
        array = arrays[name]
        if (str(array.dtype), array.shape) != (dtype, shape):
            raise ValueError(
                f"its array {name!r} is {array.dtype} {array.shape}, not {dtype} {shape}"
            )
    return Reply(client, arrays, metrics, num_bytes(record))


def cause(reason: str | None) -> str:
    """Return what the client said, without the frames that Flower puts around it."""
    lines = [line.strip() for line in (reason or "").splitlines() if line.strip()]
    said = lines[-1] if lines else "it gave no reason"
    return FRAME.sub("", said).removesuffix("'>")


def not_finite(reply: Reply) -> str | None:
    """Return the name of the first array that holds NaN or infinity, if any."""
    for name, array in reply.arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            return name
    return None
