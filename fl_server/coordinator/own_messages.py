"""What a site may ask of the Fleet API: what belongs to the message that it was given last.

Flower checks who asks and not for what: a site that was admitted could put a message for another
site into the queue, in the coordinator's name, or ask for objects of others by their ids. A
SuperNode works on one message at a time, so all that it honestly asks for is known beforehand. So
is how much it may lay down here: objects are taken only if they were announced with a reply, and of
a reply as many as its message has, each within the bounds of `bodies`.
"""

from dataclasses import dataclass

from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from operation.refusals import log_refusal

FLEET = "/v1/fleet/"
# A reply without its records is its metadata, or an error: some hundred bytes.
MOST_BYTES = 2**14
# A message and its reply have the same arrays; what a reply may have more is a handful of records,
# and the arrays of another dtype that its wire format brings.
MORE_OBJECTS = 16


@dataclass
class _Given:
    """The message that a site was given last.

    Attributes:
        message: its id.
        run: Flower's number of its run.
        objects: ids of what it holds, its own among them.
        reply: the id of its reply, once that was announced.
        session: under which the reply's objects are taken, since then.
    """

    message: str
    run: int
    objects: frozenset[str]
    reply: str = ""
    session: str = ""


class OwnMessages:
    """Refuses, with 403, what is not a site's own affair.

    It stands within Flower's app, behind its check of who asks. A SuperNode that is answered so
    takes the run for ended, drops the message, and goes on.

    Args:
        app: what is behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._given: dict[int, _Given] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on and remember what it was answered."""
        state = scope.get("state", {})
        request = state.get("protobuf_request")
        # Without `node` are only those by which a SuperNode comes and goes.
        if not scope["path"].startswith(FLEET) or not hasattr(request, "node"):
            await self._app(scope, receive, send)
            return
        site = int(request.node.node_id)  # which Flower has checked
        if not _is_own(request, self._given.get(site)):
            reason = f"it does not concern site {site}"
            log_refusal(scope, reason)
            await JSONResponse({"detail": reason}, status_code=403)(scope, receive, send)
            return

        async def sending(event: Message) -> None:
            # Before the site has the answer, or it could ask on before this is known.
            if event["type"] == "http.response.start":
                self._remember(site, request, state.get("protobuf_response"))
            await send(event)

        await self._app(scope, receive, sending)

    def _remember(self, site: int, request: object, answer: object) -> None:
        match answer:
            case PullMessagesResponse() if answer.messages_list:
                metadata = answer.messages_list[0].metadata
                tree = answer.message_object_trees[0]
                self._given[site] = _Given(
                    metadata.message_id,
                    metadata.run_id,
                    frozenset(node.object_id for node in iterate_object_tree(tree)),
                )
            case PushMessagesResponse():
                assert isinstance(request, PushMessagesRequest)
                self._given[site].reply = request.messages_list[0].metadata.message_id
                self._given[site].session = answer.session_id


def _is_own(request: object, given: _Given | None) -> bool:
    """Tell whether a site may ask this, that was given this message."""
    if isinstance(request, PullMessagesRequest | SendNodeHeartbeatRequest):
        return True
    if given is None:
        return False
    match request:
        case PushMessagesRequest():
            return _is_reply(request, given)
        case PushObjectRequest():
            # Flower takes an object without a session for whoever waits for it.
            return request.run_id == given.run and request.session_id == given.session != ""
        case PullObjectRequest():
            return request.run_id == given.run and request.object_id in given.objects
        case ConfirmMessageReceivedRequest():
            return request.run_id == given.run and request.message_object_id == given.message
        case GetRunRequest() | GetFabRequest():
            return request.run_id == given.run
    return False


def _is_reply(request: PushMessagesRequest, given: _Given) -> bool:
    """Tell whether it is one reply, to what its sender was given and in the sender's own name.

    A reply has no more objects than its message has, but for some records; no message has a second
    one, though the same may be announced again, where the answer was lost; and an error is short.
    """
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        return False
    if request.messages_list[0].ByteSize() > MOST_BYTES:
        return False
    metadata = request.messages_list[0].metadata
    objects = {node.object_id for node in iterate_object_tree(request.message_object_trees[0])}
    return (
        len(objects) <= len(given.objects) + MORE_OBJECTS
        and given.reply in ("", metadata.message_id)
        and metadata.reply_to_message_id == given.message
        and metadata.run_id == given.run
        and metadata.src_node_id == request.node.node_id
        and metadata.dst_node_id == SUPERLINK_NODE_ID
        and metadata.message_id == request.message_object_trees[0].object_id
    )
