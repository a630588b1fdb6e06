"""A grid that checks every reply: one without the declared form becomes an error."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fl_server.grid_wrapper import GridWrapper
from operation.flower_internals import ErrorCode
from operation.text import printable
from strategies.expected_replies import Announced, form_of
from strategies.refusal import Refused
from strategies.reply_form import Content, ReplyForm


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
    ) -> Iterable[Message]:
        """Send messages; return the replies, as a list if the other grid returns a list."""
        asked = list(messages)
        # Read now, since the sender of a message may free its arrays.
        forms = [self._form(message) for message in asked]
        replies = self._grid.send_and_receive(asked, timeout=timeout)
        checked = self._check_all(replies, asked, forms)
        return list(checked) if isinstance(replies, Sequence) else checked

    def _form(self, message: Message) -> ReplyForm:
        about = message.metadata
        return form_of(
            about.message_type, Content.of(message), self._announced.get(about.dst_node_id)
        )

    def _check_all(
        self, replies: Iterable[Message], asked: Sequence[Message], forms: Sequence[ReplyForm]
    ) -> Iterator[Message]:
        for reply in replies:
            # Read only now, since a message that is sent again has another id.
            answered = reply.metadata.reply_to_message_id
            for question, form in zip(asked, forms, strict=True):
                if question.metadata.message_id == answered:
                    yield _checked(reply, question, form)
                    break
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
