"""Messages between the ServerApp and the SuperLink piece by piece: no model is held in vain.

Flower's own grid writes out all of a message before the first part goes, which is a model more than
need be, and puts a reply together from parts and copies of them, which is two more. Here a part is
written when it goes, and one that comes is put where it stays.

A reply comes from another machine, and nothing that it says of itself is believed. It is held
against what was asked before memory is taken for its arrays, and they take what was asked for.

What is private to Flower and needed at the ServerApp's side of its grid stands in this file.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_objects,
)
from flwr.superlink.grid.http_grid import HttpGrid

from fl_server.wrapping_grid import WrappingGrid
from operation.text import printable
from strategies.arrays import npy_header
from strategies.message_objects import ArrayHead, Opened, chunk_of, open_message
from strategies.refusal import Refused
from strategies.replies import cause
from strategies.reply_form import Content, form_of

# Parts that are on the way at the same time; as many as Flower's own.
_AT_ONCE = 2
# A reply is announced before its parts come, and they are read as they do. Flower would look for a
# missing one after 1, 2, 4, up to 10 seconds.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Arrival:
    """A reply that has come and is not read yet.

    Attributes:
        message: that it answers: its id.
        error: what it is instead of an answer, if it is.
        root: the id of its object, below which its parts are.
    """

    message: str
    error: Error | None
    root: str


class PiecewiseGrid(WrappingGrid):
    """Flower's grid in a ServerApp, which sends and reads messages in pieces.

    Memory: besides the message that is sent or read, two of its parts, 5 MB each.

    Args:
        grid: Flower's, which a ServerApp is given where it is deployed.
    """

    def __init__(self, grid: HttpGrid) -> None:
        super().__init__(grid)
        self._client = grid._runtime_client
        self._node = grid.node
        self._run_id = grid.run.run_id

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; return their ids, an empty one for a site that is not there any more."""
        messages = list(messages)
        objects: dict[str, InflatableObject] = {}
        with no_object_id_recompute():
            for message in messages:
                message.metadata.__dict__["_message_id"] = message.object_id
                objects |= get_all_nested_objects(message)
            accepted = self._client.PushMessages(
                PushAppMessagesRequest(
                    messages_list=[
                        message_to_proto(remove_content_from_message(m)) for m in messages
                    ],
                    message_object_trees=[get_object_tree(message) for message in messages],
                )
            )
        push = make_push_object_fn_protobuf(
            self._client.PushObject, self._node, self._run_id, accepted.session_id
        )

        def send(name: str) -> None:
            # What is not taken is not wanted any more: the site it is for has been lost meanwhile.
            # If it is wanted after all, the site finds it missing and says so.
            with suppress(ObjectPushError):
                push(name, objects[name].deflate())

        # What a site reads first goes first, so that it reads while the rest is on its way.
        needed = set(accepted.objects_to_push)
        wanted = [name for name in objects if name in needed]
        wanted.sort(key=lambda name: isinstance(objects[name], ArrayChunk))
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(send, wanted))
        return list(accepted.message_ids)

    def arrivals(self, message_ids: Sequence[str]) -> list[Arrival]:
        """Return those replies to messages that have come; none of them comes twice."""
        come = self._client.PullMessages(PullAppMessagesRequest(message_ids=message_ids))
        return [
            Arrival(proto.metadata.reply_to_message_id, _error_of(proto), tree.object_id)
            for proto, tree in zip(come.messages_list, come.message_object_trees, strict=True)
        ]

    def read(self, arrival: Arrival, question: Message) -> Message:
        """Read a reply; one that cannot be read, or is not of the declared form, is an error.

        Its arrays' data are memory that may be written to: nobody else has it. If parts of it do
        not come any more the error's code is ``MESSAGE_UNAVAILABLE``.
        """
        try:
            form = form_of(question.metadata.message_type, Content.of(question))
            opened = open_message(arrival.root, self._pull, form)
            if opened.has_error:
                raise Refused("it is an error that came as an answer")
            content = self._read(opened)
        except ObjectPullError as error:
            lost = Error(ErrorCode.MESSAGE_UNAVAILABLE, str(error))
            return Message(lost, reply_to=question)
        except Refused as refused:
            said = printable(f"its reply is refused: {refused.whole}")
            told = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, said)
            reply = Message(told, reply_to=question)
        else:
            # Not the metadata that it states: it could answer in another site's place.
            reply = Message(content, reply_to=question)
        self._client.ConfirmMessageReceived(  # and the SuperLink lets go of its objects
            ConfirmMessageReceivedRequest(
                node=self._node, run_id=self._run_id, message_object_id=arrival.root
            )
        )
        reply.metadata.__dict__["_message_id"] = arrival.root
        return reply

    def _read(self, opened: Opened) -> RecordDict:
        content = RecordDict()
        for name, config in opened.content.configs.items():
            content[name] = ConfigRecord(config)
        for name, metrics in opened.content.metrics.items():
            content[name] = MetricRecord(metrics)
        for name, heads in opened.heads.items():
            record = ArrayRecord()
            for key, head in heads.items():
                array = Array(head.dtype, head.shape, "numpy.ndarray", b"")
                # Read, sliced and compared as bytes are.
                array.data = cast(bytes, memoryview(self._read_data(head)))
                record[key] = array
            content[name] = record
        return content

    def _read_data(self, head: ArrayHead) -> bytearray:
        """Read an array's chunks, one after the other, into memory of just its size."""
        header = npy_header(head.dtype, head.shape)
        data = bytearray(len(header) + head.num_bytes)
        filled = 0
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for part in threads.map(lambda name: self._pull([name])[name], head.chunks):
                chunk = chunk_of(part)
                if filled + len(chunk) > len(data):
                    break
                data[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
                del part, chunk
            else:
                if filled == len(data) and data[: len(header)] == header:
                    return data
        raise Refused("an array's data is not what the array says of itself")

    def _pull(self, names: Iterable[str]) -> dict[str, bytes]:
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._node, self._run_id)
        return pull_objects(
            wanted,
            pull,
            max_tries_per_object=None,  # its time is bounded
            initial_backoff=_LOOK_SECONDS,
            backoff_cap=_LOOK_SECONDS,
        )


def _error_of(proto: ProtoMessage) -> Error | None:
    """Return the error that a message is; what a site may say of itself has its bounds."""
    if not proto.HasField("error"):
        return None
    code = proto.error.code
    # By code 0 Flower tells of a process that died under a simulation, and there is none here.
    if not ErrorCode.UNKNOWN < code <= ErrorCode.CLIENT_APP_CRASHED:
        code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    return Error(code, cause(proto.error.reason))
