"""Messages between ServerApp and SuperLink, sent and read in pieces, without extra copies of a
model.

Flower's own grid encodes a whole message before it sends the first part, which takes one more model
than necessary, and assembles a reply from parts and copies of them, which takes two more. Here each
part is encoded when it is sent, and a received part is written directly to its final place.

A reply comes from another machine, and nothing that it states is trusted. It is checked against the
request before memory for its arrays is allocated, and they get exactly the requested size.
"""

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fl_server.reply_grids import GridWrapper
from operation.flower_internals import (
    ArrayChunk,
    ConfirmMessageReceivedRequest,
    ErrorCode,
    HttpGrid,
    InflatableObject,
    ObjectPullError,
    ObjectPushError,
    PullAppMessagesRequest,
    PushAppMessagesRequest,
    get_all_nested_objects,
    get_object_tree,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
    message_to_proto,
    no_object_id_recompute,
    pull_objects,
    remove_content_from_message,
    runtime_client,
    set_message_id,
)
from operation.text import printable
from strategies.arrays import npy_header
from strategies.expected_replies import form_of
from strategies.message_objects import ArrayHead, Fetch, Opened, chunk_of, open_message
from strategies.refusal import Refused
from strategies.replies import told_error
from strategies.reply_form import Content

# Number of parts in transit at the same time; the same as Flower's own.
_AT_ONCE = 2
# A reply is announced before its parts arrive, and they are read as they arrive. Flower would poll
# for a missing one after 1, 2, 4, up to 10 seconds.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Arrival:
    """A reply that has arrived and has not been read yet."""

    message: str  # id of the message that it answers
    error: Error | None  # the error, if it is one
    root: str  # the id of its object; its parts are below it


class StreamingGrid(GridWrapper):
    """Flower's grid in a ServerApp, which sends and reads messages in pieces.

    Memory: besides the message that is sent or read, two of its parts, 5 MB each.

    Args:
        grid: Flower's own grid in a deployed ServerApp.
    """

    def __init__(self, grid: HttpGrid) -> None:
        super().__init__(grid)
        self._client = runtime_client(grid)
        self._node = grid.node
        self._run_id = grid.run.run_id

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; return their ids, an empty one for a site that no longer exists."""
        messages = list(messages)
        objects: dict[str, InflatableObject] = {}
        with no_object_id_recompute():
            for message in messages:
                set_message_id(message, message.object_id)
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
            # If an object is not accepted, it is no longer wanted: its site was lost. If it is
            # needed after all, the site finds it missing and reports that.
            with suppress(ObjectPushError):
                push(name, objects[name].deflate())

        # Parts are sent in the order in which a site reads them, so that it can read while the rest
        # is in transit.
        needed = set(accepted.objects_to_push)
        wanted = [name for name in objects if name in needed]
        wanted.sort(key=lambda name: isinstance(objects[name], ArrayChunk))
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(send, wanted))
        return list(accepted.message_ids)

    def arrivals(self, message_ids: Sequence[str]) -> list[Arrival]:
        """Return the replies to these messages that have arrived; each is returned once."""
        come = self._client.PullMessages(PullAppMessagesRequest(message_ids=message_ids))
        return [
            Arrival(
                message=proto.metadata.reply_to_message_id,
                error=Error(*told_error(proto.error.code, proto.error.reason))
                if proto.HasField("error")
                else None,
                root=tree.object_id,
            )
            for proto, tree in zip(come.messages_list, come.message_object_trees, strict=True)
        ]

    def read(self, arrival: Arrival, question: Message, deadline: float = math.inf) -> Message:
        """Read a reply; if it cannot be read or does not have the declared form, return an error.

        Its arrays' data are in writable memory that no one else uses. If parts of it no longer
        arrive, the error has code ``MESSAGE_UNAVAILABLE``, and the others are freed.

        Args:
            arrival: of the reply.
            question: the message that it answers.
            deadline: until when parts that have not arrived are waited for, as of
                `time.monotonic`. Parts that are there are read at any time.
        """
        pull = partial(self._pull, deadline=deadline)
        try:
            form = form_of(question.metadata.message_type, Content.of(question))
            opened = open_message(arrival.root, pull, form)
            if opened.has_error:
                raise Refused("it is an error in place of a reply")
            content = self._read(opened, pull)
        except ObjectPullError as error:
            self.release(arrival.root)
            lost = Error(ErrorCode.MESSAGE_UNAVAILABLE, str(error))
            return Message(lost, reply_to=question)
        except Refused as refused:
            said = printable(f"its reply is refused: {refused.whole}")
            told = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, said)
            reply = Message(told, reply_to=question)
        else:
            # The metadata that it states are not used: it could claim to be another site's reply.
            reply = Message(content, reply_to=question)
        self.release(arrival.root)
        set_message_id(reply, arrival.root)
        return reply

    def release(self, root: str) -> None:
        """Let the SuperLink free a message's or a reply's objects that nothing else has.

        A message whose objects are freed is not delivered any more, and parts of a reply that
        arrive later are not accepted.

        Args:
            root: id of its object, for a message its own id.
        """
        self._client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self._node, run_id=self._run_id, message_object_id=root
            )
        )

    def _read(self, opened: Opened, pull: Fetch) -> RecordDict:
        content = RecordDict()
        for name, config in opened.content.configs.items():
            content[name] = ConfigRecord(config)
        for name, metrics in opened.content.metrics.items():
            content[name] = MetricRecord(metrics)
        for name, heads in opened.heads.items():
            record = ArrayRecord()
            for key, head in heads.items():
                array = Array(head.dtype, head.shape, "numpy.ndarray", b"")
                # Is read, sliced and compared as bytes are.
                array.data = cast(bytes, memoryview(_read_data(head, pull)))
                record[key] = array
            content[name] = record
        return content

    def _pull(self, names: Iterable[str], *, deadline: float) -> dict[str, bytes]:
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._node, self._run_id)
        return pull_objects(
            wanted,
            pull,
            max_time=max(0.0, deadline - time.monotonic()),
            max_tries_per_object=None,  # its time is bounded
            initial_backoff=_LOOK_SECONDS,
            backoff_cap=_LOOK_SECONDS,
        )


def _read_data(head: ArrayHead, pull: Fetch) -> bytearray:
    """Read an array's chunks one after the other into memory of exactly its size."""
    header = npy_header(head.dtype, head.shape)
    data = bytearray(len(header) + head.num_bytes)
    filled = 0
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for part in threads.map(lambda name: pull([name])[name], head.chunks):
            chunk = chunk_of(part)
            if filled + len(chunk) > len(data):
                break
            data[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            del part, chunk
        else:
            if filled == len(data) and data[: len(header)] == header:
                return data
    raise Refused("an array's data does not match its declaration")
