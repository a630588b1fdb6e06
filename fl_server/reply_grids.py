"""Grids around another one: each reply is unpacked, or checked, before a strategy sees it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flwr.app import ArrayRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from operation.flower_internals import ErrorCode, NodeInfo
from operation.text import printable
from strategies.arrays import num_bytes
from strategies.expected_replies import Announced, form_of
from strategies.layout import Layout
from strategies.refusal import Refused
from strategies.replies import ARRAYS, METRICS, NUM_BYTES, in_turn, placed
from strategies.reply_form import Content, ReplyForm
from strategies.wire_format import unpack_record


class GridWrapper(Grid):
    """A grid that passes every call to another; subclasses override what differs."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """As the other grid; so are all other methods."""
        return self._grid.send_and_receive(messages, timeout=timeout)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)


class CheckingGrid(GridWrapper):
    """Checks replies against the message that they answer and the client's introduction.

    An invalid reply becomes an error with the reason, as if the client had sent an error. Any
    strategy then continues without that client.

    Args:
        announced: known facts about each client, by node id.
    """

    def __init__(self, grid: Grid, announced: Mapping[int, Announced]) -> None:
        super().__init__(grid)
        self._announced = announced

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages; return the replies one by one as they are taken."""
        asked = list(messages)
        # Read now, since the sender of a message may free its arrays.
        forms = [self._form(message) for message in asked]
        replies = self._grid.send_and_receive(asked, timeout=timeout)
        return self._check_all(replies, asked, forms)

    def _form(self, message: Message) -> ReplyForm:
        about = message.metadata
        return form_of(
            about.message_type, Content.of(message), self._announced.get(about.dst_node_id)
        )

    def _check_all(
        self, replies: Iterable[Message], asked: Sequence[Message], forms: Sequence[ReplyForm]
    ) -> Iterator[Message]:
        for place, reply in placed(asked, replies):
            yield _checked(reply, asked[place], forms[place])
            del reply  # otherwise it would stay in memory while the next one is read


def _checked(reply: Message, question: Message, form: ReplyForm) -> Message:
    if reply.has_error():
        return reply
    try:
        form.check(Content.of(reply))
    except Refused as refused:
        said = printable(refused.whole)
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, said), reply_to=question)
    return reply


class UnpackingGrid(GridWrapper):
    """Converts the updates in replies to training messages into weights, for any strategy of
    Flower's.

    A reply is unpacked when the caller takes it, in the order of the messages, and its packed bytes
    are freed then. So a strategy that takes one reply after the other has one model of them in
    memory; replies that came before their turn are still packed. The bytes as sent are added to the
    reply's metrics, as ``num-bytes``.

    An invalid update becomes an error with the reason, as if the client had sent an error, and the
    round continues without it.

    Args:
        wire_format: the clients' format; not ``float32``, which needs no unpacking.
    """

    def __init__(self, grid: Grid, wire_format: str, layout: Layout) -> None:
        super().__init__(grid)
        self._wire_format = wire_format
        self._layout = layout

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages; return the replies one by one as they are taken."""
        asked = list(messages)
        # Read now, since the sender of a message may free its arrays.
        sent = [message.content.get(ARRAYS) for message in asked]
        replies = self._grid.send_and_receive(asked, timeout=timeout)
        return self._unpack_all(replies, asked, sent)

    def _unpack_all(
        self, replies: Iterable[Message], asked: Sequence[Message], sent: Sequence[object]
    ) -> Iterator[Message]:
        for place, reply in in_turn(asked, replies):
            if reply is not None:
                yield self._unpack(reply, asked[place], sent[place])
            del reply  # otherwise it would stay in memory while the next one is read

    def _unpack(self, reply: Message, question: Message, sent: object) -> Message:
        if question.metadata.message_type != MessageType.TRAIN or reply.has_error():
            return reply
        packed, metrics = reply.content.get(ARRAYS), reply.content.get(METRICS)
        if not isinstance(packed, ArrayRecord) or not isinstance(metrics, MetricRecord):
            return reply  # a strategy refuses it
        del reply.content[ARRAYS]  # the loop above still holds the last reply
        assert isinstance(sent, ArrayRecord)
        try:
            whole = unpack_record(packed, sent, self._layout, self._wire_format)
        except ValueError as error:
            refusal = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error))
            return Message(refusal, reply_to=question)
        counted = MetricRecord({**metrics, NUM_BYTES: num_bytes(packed)})
        return Message(
            RecordDict({**reply.content, ARRAYS: whole, METRICS: counted}), reply_to=question
        )
