"""A grid that unpacks updates: a strategy sees whole weights, whatever the wire format."""

from collections import deque
from collections.abc import Iterable, Iterator

from flwr.app import ArrayRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fl_server.grid_wrapper import GridWrapper
from operation.flower_internals import ErrorCode
from strategies.arrays import num_bytes
from strategies.layout import Layout
from strategies.packed_records import unpack_record
from strategies.replies import ARRAYS, METRICS, NUM_BYTES


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
        return self._unpack_all(replies, deque(zip(asked, sent, strict=True)))

    def _unpack_all(
        self, replies: Iterable[Message], turns: deque[tuple[Message, object]]
    ) -> Iterator[Message]:
        held: dict[str, Message] = {}
        for reply in replies:
            held[reply.metadata.reply_to_message_id] = reply
            # Read only now, since a message that is sent again has another id.
            while turns and turns[0][0].metadata.message_id in held:
                yield self._unpack(held, *turns.popleft())
        for question, sent in turns:
            if question.metadata.message_id in held:
                yield self._unpack(held, question, sent)

    def _unpack(self, held: dict[str, Message], question: Message, sent: object) -> Message:
        reply = held.pop(question.metadata.message_id)
        if question.metadata.message_type != MessageType.TRAIN or reply.has_error():
            return reply
        packed, metrics = reply.content.get(ARRAYS), reply.content.get(METRICS)
        if not isinstance(packed, ArrayRecord) or not isinstance(metrics, MetricRecord):
            return reply  # a strategy refuses it
        del reply.content[ARRAYS]  # a list may hold the reply until the end of the round
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
