"""Messages between the ServerApp and the SuperLink piece by piece: no model is held in vain.

Flower's own grid writes out all of a message before the first part goes, which is a model more than
need be, and puts a reply together from parts and copies of them, which is two more. Here a part is
written when it goes, and one that comes is put where it stays.

What is private to Flower and needed at the ServerApp's side of its grid stands in this file.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from flwr.app import Array, ArrayRecord, Error, Message
from flwr.app.message import remove_content_from_message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.common.serde_utils import error_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_body,
    get_object_children_ids_from_object_content,
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
    inflate_object_from_contents,
    pull_objects,
)
from flwr.superlink.grid.http_grid import HttpGrid

from fl_server.wrapping_grid import WrappingGrid

# Parts that are on the way at the same time; as many as Flower's own.
_AT_ONCE = 2
# A reply is announced before its parts come, and they are read as they do. Flower would look for a
# missing one after 1, 2, 4, up to 10 seconds.
_LOOK_SECONDS = 0.2
# Message, record dict, record, array: what is below an array is its data.
_ARRAY_DEPTH = 3
_MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError)


@dataclass(frozen=True)
class Arrival:
    """A reply that has come and is not read yet.

    Attributes:
        message: that it answers: its id.
        error: what it is instead of an answer, if it is.
        tree: the ids of its parts.
    """

    message: str
    error: Error | None
    tree: ObjectTree


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
            Arrival(
                proto.metadata.reply_to_message_id,
                error_from_proto(proto.error) if proto.HasField("error") else None,
                tree,
            )
            for proto, tree in zip(come.messages_list, come.message_object_trees, strict=True)
        ]

    def read(self, arrival: Arrival, question: Message) -> Message:
        """Read a reply; one that cannot be read is an error that says so.

        Its arrays' data are memory that may be written to: nobody else has it. If parts of it do
        not come any more the error's code is ``MESSAGE_UNAVAILABLE``.
        """
        root = arrival.tree.object_id
        try:
            reply = self._read(arrival.tree)
        except ObjectPullError as error:
            lost = Error(ErrorCode.MESSAGE_UNAVAILABLE, str(error))
            return Message(lost, reply_to=question)
        except _MALFORMED as error:  # not what Flower writes, so no site's doing that is honest
            told = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"its reply is damaged: {error!r}")
            return Message(told, reply_to=question)
        self._client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self._node, run_id=self._run_id, message_object_id=root
            )
        )
        reply.metadata.__dict__["_message_id"] = root
        return reply

    def _read(self, tree: ObjectTree) -> Message:
        levels = [[tree]]
        for _ in range(_ARRAY_DEPTH):
            levels.append([child for above in levels[-1] for child in above.children])
        contents = self._pull([part.object_id for level in levels for part in level])
        stated = {part.object_id: contents[part.object_id] for part in levels[-1]}
        # Flower's record takes arrays over with their data; until it has, that is their own id.
        empty: dict[str, InflatableObject] = {
            name: _head_of_array(content, data=name.encode()) for name, content in stated.items()
        }
        message = inflate_object_from_contents(tree.object_id, contents, objects=empty)
        assert isinstance(message, Message)
        for record in message.content.values() if message.has_content() else ():
            for array in record.values() if isinstance(record, ArrayRecord) else ():
                data = self._read_data(stated[array.data.decode()])
                array.data = cast(bytes, memoryview(data))  # read, sliced, compared as bytes are
        return message

    def _read_data(self, stated: bytes) -> bytearray:
        names = get_object_children_ids_from_object_content(stated)
        order = json.loads(get_object_body(stated, Array))["arraychunk_ids"]
        data = bytearray()
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            parts = threads.map(lambda name: self._pull([name])[name], [names[n] for n in order])
            for part in parts:
                data += get_object_body(part, ArrayChunk)
        return data

    def _pull(self, names: list[str]) -> dict[str, bytes]:
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._node, self._run_id)
        return pull_objects(
            names,
            pull,
            max_tries_per_object=None,  # its time is bounded
            initial_backoff=_LOOK_SECONDS,
            backoff_cap=_LOOK_SECONDS,
        )


def _head_of_array(stated: bytes, data: bytes) -> Array:
    says = json.loads(get_object_body(stated, Array))
    return Array(says["dtype"], tuple(says["shape"]), says["stype"], data)
