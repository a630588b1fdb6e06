"""Restricts a site's requests to the Fleet API to the last message that it was given.

Flower checks who asks, but not for what: an admitted site could put a message for another site into
the queue, in the coordinator's name, or request other sites' objects by their ids. A SuperNode
works on one message at a time, so all its legitimate requests are known in advance. So is the
amount of data that it may store here: objects are accepted only if they were announced with a
reply, with the number limited by its message, each within the bounds of `body_limits`.
"""

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from operation.body_limits import log_refusal
from operation.flower_internals import (
    SUPERLINK_NODE_ID,
    ConfirmMessageReceivedRequest,
    GetFabRequest,
    GetRunRequest,
    NoObjectInStoreError,
    ObjectStore,
    ObjectTree,
    PullMessagesRequest,
    PullMessagesResponse,
    PullObjectRequest,
    PushMessagesRequest,
    PushMessagesResponse,
    PushObjectRequest,
    SendNodeHeartbeatRequest,
    iterate_object_tree,
)

FLEET = "/v1/fleet/"
# A reply without its records is its metadata, or an error: some hundred bytes.
MOST_BYTES = 2**14
# A message and its reply have the same arrays. A reply may also have a few more records, and the
# arrays of another dtype for its wire format.
MORE_OBJECTS = 16


@dataclass
class _Given:
    """The last message that a site was given."""

    message: str  # its id
    run: int  # Flower's number of its run
    objects: frozenset[str]  # ids of its objects, including its own
    reply: ObjectTree | None = None  # the tree as which its reply was announced, once announced
    session: str = ""  # the session in which the reply's objects are accepted, once announced


class FleetAuthorization:
    """Refuses, with 403, requests that do not belong to the site's own message.

    It is inside Flower's app, behind its check of the sender. A SuperNode that gets this answer
    assumes that the run has ended, drops the message, and continues.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._given: dict[int, _Given] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and remember the answer."""
        state = scope.get("state", {})
        request = state.get("protobuf_request")
        # Requests without `node` are only those by which a SuperNode connects and disconnects.
        if not scope["path"].startswith(FLEET) or not hasattr(request, "node"):
            await self._app(scope, receive, send)
            return
        site = int(request.node.node_id)  # Flower has checked it
        given = self._given.get(site)
        if not _is_own(request, given) or not _is_plain(request, given, scope["app"]):
            reason = f"it does not concern site {site}"
            log_refusal(scope, reason)
            await JSONResponse({"detail": reason}, status_code=403)(scope, receive, send)
            return

        announced = given if isinstance(request, PushMessagesRequest) else None
        if announced is not None:
            # Before it is answered, else others announced at the same time would be accepted.
            announced.reply = request.message_object_trees[0]

        async def sending(event: Message) -> None:
            # Recorded before the site has the answer, since its next request may depend on it.
            if event["type"] == "http.response.start":
                answer = state.get("protobuf_response")
                if announced is not None and isinstance(answer, PushMessagesResponse):
                    announced.session = answer.session_id
                self._remember(site, answer)
            await send(event)

        try:
            await self._app(scope, receive, sending)
        finally:
            if announced is not None and not announced.session:
                announced.reply = None  # Flower did not accept it

    def _remember(self, site: int, answer: object) -> None:
        if isinstance(answer, PullMessagesResponse) and answer.messages_list:
            metadata = answer.messages_list[0].metadata
            tree = answer.message_object_trees[0]
            self._given[site] = _Given(
                metadata.message_id,
                metadata.run_id,
                frozenset(node.object_id for node in iterate_object_tree(tree)),
            )


def _is_own(request: object, given: _Given | None) -> bool:
    """Return whether a site that was given this message may make this request."""
    if isinstance(request, PullMessagesRequest | SendNodeHeartbeatRequest):
        return True
    if given is None:
        return False
    match request:
        case PushMessagesRequest():
            return _is_reply(request, given)
        case PushObjectRequest():
            # Without a session, Flower accepts an object for any message that waits for it.
            return request.run_id == given.run and request.session_id == given.session != ""
        case PullObjectRequest():
            return request.run_id == given.run and request.object_id in given.objects
        case ConfirmMessageReceivedRequest():
            return request.run_id == given.run and request.message_object_id == given.message
        case GetRunRequest() | GetFabRequest():
            return request.run_id == given.run
    return False


def _is_plain(request: object, given: _Given | None, app: Starlette) -> bool:
    """Return whether Flower would write the announced tree of objects as it was announced.

    Flower stores each object once, with the children of its first announcement, and writes the
    tree again from these. Objects named twice, below others named twice, would become millions.
    """
    if not isinstance(request, PushMessagesRequest) or given is None or given.reply is not None:
        return True  # the same again
    below: dict[str, list[str]] = {}
    for node in iterate_object_tree(request.message_object_trees[0]):
        children = [child.object_id for child in node.children]
        same = below.setdefault(node.object_id, children) == children
        if not same or len(set(children)) < len(children):
            return False
    store: ObjectStore = app.state.linkstate_factory.state().object_store
    return all(_stored_children(store, name) in (None, below[name]) for name in below)


def _stored_children(store: ObjectStore, name: str) -> list[str] | None:
    """Return the ids of an object's children; None if it is not stored."""
    try:
        return [child.object_id for child in store.get_object_tree(name).children]
    except NoObjectInStoreError:
        return None


def _is_reply(request: PushMessagesRequest, given: _Given) -> bool:
    """Return whether it is one reply, to the sender's own message and in the sender's own name.

    A reply has no more objects than its message, except for a few records. A message has only one
    reply, but it may be announced again if the answer was lost: with the same objects, since Flower
    would accept further ones each time. An error is short.
    """
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        return False
    if request.messages_list[0].ByteSize() > MOST_BYTES:
        return False
    metadata = request.messages_list[0].metadata
    objects = {node.object_id for node in iterate_object_tree(request.message_object_trees[0])}
    return (
        len(objects) <= len(given.objects) + MORE_OBJECTS
        and given.reply in (None, request.message_object_trees[0])
        and metadata.reply_to_message_id == given.message
        and metadata.run_id == given.run
        and metadata.src_node_id == request.node.node_id
        and metadata.dst_node_id == SUPERLINK_NODE_ID
        and metadata.message_id == request.message_object_trees[0].object_id
    )
