"""Reading clients' replies, and refusing invalid ones."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message, MetricRecord
from numpy.typing import NDArray

from operation.flower_internals import ErrorCode
from operation.text import printable
from strategies.aggregation import is_finite
from strategies.arrays import num_bytes, views
from strategies.layout import Layout

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
NUM_EXAMPLES = "num-examples"
NUM_BYTES = "num-bytes"

# The prefix that Flower adds to an app's own message: in a simulation, and at a site.
FRAME = re.compile(r"^(Exception ClientAppException occurred. Message: |<class '[\w.]+'>:<')")


class TooFewReplies(RuntimeError):
    """A round with fewer replies than the config allows, in one line."""


class ProcessLost(RuntimeError):
    """A client's process that died in a simulation, in one line.

    This is a crash of the simulating machine, for example because of too little memory, and not an
    absent client: a round without the client would give a result that no other machine gives.
    """


@dataclass
class Reply:
    """One client's accepted reply.

    Attributes:
        record: its weights; empty for an evaluation.
        num_bytes: bytes of its arrays as sent; metric ``num-bytes`` has them if they were packed.
    """

    client: str
    record: ArrayRecord
    metrics: MetricRecord
    num_bytes: int

    @property
    def arrays(self) -> dict[str, NDArray]:
        """Views of the weights by name."""
        return views(self.record)


@dataclass
class Replies:
    """All replies to one set of messages.

    Attributes:
        accepted: the accepted ones in the fixed order of the clients, independent of arrival.
        failures: for every other client that was asked, the reason why it is missing.
    """

    accepted: list[Reply] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def read_replies(
    sent: Sequence[Message],
    replies: Iterable[Message],
    *,
    clients: Mapping[int, str],
) -> Replies:
    """Match replies without arrays to the messages that they answer and refuse invalid ones.

    Args:
        sent, replies, clients: see `each_reply`.

    Returns:
        The accepted replies, and the failures by name.

    Raises:
        ProcessLost: a simulated client's process died.
    """
    result = Replies()
    for reply in each_reply(sent, replies, clients=clients, expected={}, result=result):
        result.accepted.append(reply)
    return result


def each_reply(
    sent: Sequence[Message],
    replies: Iterable[Message],
    *,
    clients: Mapping[int, str],
    expected: Mapping[str, tuple[str, tuple[int, ...]]],
    result: Replies,
) -> Iterator[Reply]:
    """Yield the valid replies in the fixed order of the clients, each as soon as possible.

    Args:
        sent, replies: see `in_turn`.
        clients: names by node id, in the fixed order of the clients.
        expected: dtype and shape of every array that a reply must have; empty for none.
        result: its failures are filled with the reasons.

    Raises:
        ProcessLost: a simulated client's process died.
    """
    for place, message in in_turn(sent, replies):
        client = clients[sent[place].metadata.dst_node_id]
        try:
            accepted = [_read(client, message, expected)]
        except ValueError as error:
            accepted = []
            result.failures[client] = str(error)
        del message
        yield from accepted
        del accepted  # nothing of a reply stays in memory while the next one is read


def in_turn(
    sent: Sequence[Message], replies: Iterable[Message]
) -> Iterator[tuple[int, Message | None]]:
    """Yield each message's place and its reply in the order of the messages, as soon as possible.

    Args:
        sent, replies: see `placed`. A reply that comes before its turn is held.

    Returns:
        With None for a message without a reply; these and what follows them come at the end.
    """
    held: dict[int, Message] = {}
    turn = 0
    for place, reply in placed(sent, replies):
        held[place] = reply
        del reply
        while turn in held:
            yield turn, held.pop(turn)
            turn += 1
    for place in range(turn, len(sent)):
        yield place, held.pop(place, None)


def placed(sent: Sequence[Message], replies: Iterable[Message]) -> Iterator[tuple[int, Message]]:
    """Yield each reply, as it comes, with the place of the message that it answers.

    Replies are matched by the id of the message, since an error reply may lack its node's id.

    Args:
        sent: the messages; sending one again may change its id.
        replies: the replies in any order. What answers none of the messages is left out.
    """
    places: dict[str, int] = {}
    for reply in replies:
        answered = reply.metadata.reply_to_message_id
        if answered not in places:  # a message gets another id when it is sent, or sent again
            places = {asked.metadata.message_id: place for place, asked in enumerate(sent)}
        if (place := places.get(answered)) is not None:
            yield place, reply
        del reply  # otherwise it would stay in memory while the next one is read


def _read(
    client: str, message: Message | None, expected: Mapping[str, tuple[str, tuple[int, ...]]]
) -> Reply:
    if message is None:
        raise ValueError("gave no answer in time")
    if message.has_error():
        if message.error.code == ErrorCode.UNKNOWN:  # Flower's message when Ray lost an actor
            raise ProcessLost(
                f"the process of {client} died, perhaps with its machine or because of too little "
                "memory; --resume continues from the last finished round"
            )
        raise ValueError(cause(message.error.reason))
    # Not .metric_records and .array_records: these create a reference cycle with the message, which
    # keeps the clients' weights until the garbage collector runs.
    metrics = message.content.get(METRICS)
    if not isinstance(metrics, MetricRecord):
        raise ValueError(f"its reply has no record {METRICS!r}")
    examples = metrics.get(NUM_EXAMPLES)
    # A trained model has a weight above zero; a split for evaluation may be empty.
    if not isinstance(examples, int) or examples < (1 if expected else 0):
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
    travelled = int(str(metrics.get(NUM_BYTES, num_bytes(record))))
    return Reply(client, record, metrics, travelled)


def told_error(code: int, reason: str | None) -> tuple[int, str]:
    """Return the code and the reason of a client's error, with bounds on what it may state."""
    # Code 0 means that a process died in a simulation, which does not apply here.
    if not ErrorCode.UNKNOWN < code <= ErrorCode.CLIENT_APP_CRASHED:
        code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    return code, cause(reason)


def cause(reason: str | None) -> str:
    """Return the client's message in one printable line, without Flower's prefix."""
    lines = [line.strip() for line in (reason or "").splitlines()]
    said = next((line for line in reversed(lines) if line), "it gave no reason")
    return printable(FRAME.sub("", said).removesuffix("'>"))


def not_finite(reply: Reply, layout: Layout | None = None) -> str | None:
    """Return the name of the first array that holds NaN or infinity, if any.

    Args:
        layout: layout of the concatenated weights, for the names of the model's own arrays.
    """
    arrays = reply.arrays if layout is None else layout.views(reply.record)
    return next((name for name, array in arrays.items() if not is_finite(array)), None)
