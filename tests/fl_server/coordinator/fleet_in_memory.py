"""Flower's Fleet API with its own app and handlers, in memory, and sites that ask it anything."""

import asyncio
from base64 import b64encode

import httpx
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import NOOP_FLWR_AID, SUPERLINK_NODE_ID, TIMESTAMP_HEADER
from flwr.common.serde import message_to_proto
from flwr.proto.fab_pb2 import GetFabRequest, GetFabResponse
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    DeactivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    NOOP_FEDERATION_ID,
    TaskType,
)
from flwr.supercore.date import now
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.superlink import superlink_app

PATHS = {kind: path for (_, path), kind in PROTOBUF_REQUEST_TYPES.items() if "/fleet/" in path}
ANSWERS = {
    ActivateNodeRequest: ActivateNodeResponse,
    DeactivateNodeRequest: DeactivateNodeResponse,
    SendNodeHeartbeatRequest: SendNodeHeartbeatResponse,
    PullMessagesRequest: PullMessagesResponse,
    PushMessagesRequest: PushMessagesResponse,
    PullObjectRequest: PullObjectResponse,
    PushObjectRequest: PushObjectResponse,
    ConfirmMessageReceivedRequest: ConfirmMessageReceivedResponse,
    GetRunRequest: GetRunResponse,
    GetFabRequest: GetFabResponse,
}
FAB = Fab("", b"the bundle", {})
WEIGHT = np.arange(4, dtype=np.float32)


class Coordinator:
    """Flower's app with one run that runs, and what its ServerApp does."""

    def __init__(self, folder: CoordinatorFolder, *, checked: bool) -> None:
        app = superlink_app(folder, ("127.0.0.1", 1))
        if not checked:
            app.user_middleware.pop()
        self.app = app
        self.state = app.state.linkstate_factory.state()
        self.fab = self.state.store_fab(FAB)
        self.run = self.start_run()

    def start_run(self) -> int:
        run = self.state.create_run(
            None, None, self.fab, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
        )
        task = self.state.get_run_info(run_ids=[run])[0].primary_task_id
        self.state.claim_task(task)
        self.state.activate_task(task)
        return run

    def send(self, site: "Site", number: int) -> Message:
        """Put a message for a site into the queue, as a ServerApp's grid does."""
        content = RecordDict(
            {"arrays": ArrayRecord({"w": Array(WEIGHT)}), "config": ConfigRecord({"n": number})}
        )
        message = whole(content, src=SUPERLINK_NODE_ID, dst=site.node, run=self.run)
        self.put(message)
        return message

    def put(self, message: Message) -> None:
        session = self.state.start_session(self.run)
        stored, missing = self.state.store_message_and_object_tree(
            message, get_object_tree(message), session
        )
        assert stored
        objects = get_all_nested_objects(message)
        for object_id in missing:
            assert self.state.store_object(
                self.run, session, object_id, objects[object_id].deflate()
            )

    def waiting_for(self, site: "Site") -> list[str]:
        """Ids of the messages that a site would be given next."""
        store = self.state.message_ins_store
        return [
            i
            for i, message in store.items()
            if message.metadata.dst_node_id == site.node and not message.metadata.delivered_at
        ]


class Site:
    """An admitted site, which may ask for anything, in its own name."""

    def __init__(self, coordinator: Coordinator, name: str) -> None:
        self.coordinator = coordinator
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.public = public_key_to_bytes(self.key.public_key())
        self.node = coordinator.state.create_node(NOOP_FLWR_AID, "", self.public, 0, name=name)
        self.ask(ActivateNodeRequest(public_key=self.public, heartbeat_interval=30))

    def status(self, request: object, key: ec.EllipticCurvePrivateKey | None = None) -> int:
        return self._post(request, key or self.key).status_code

    def ask(self, request: object) -> object:
        """Return the answer, or None if it was refused as not the site's own."""
        response = self._post(request, self.key)
        if response.status_code == 403:
            return None
        assert response.status_code == 200, response.text
        return ANSWERS[type(request)].FromString(response.content)

    def pull(self) -> PullMessagesResponse:
        return self.ask(PullMessagesRequest(node=self.me))

    @property
    def me(self) -> Node:
        return Node(node_id=self.node)

    def given(self, number: int) -> Message:
        """Return a message that this site was asked with, and has pulled."""
        asked = self.coordinator.send(self, number)
        self.pull()
        return asked

    def reply(
        self, message: Message, arrays: dict[str, Array] | None = None, later: float = 0.0
    ) -> Message:
        """Return a reply made some seconds later than now; another time gives another id."""
        named = arrays or {"w": Array(WEIGHT + self.node % 7 + 1)}
        return whole(
            RecordDict({"arrays": ArrayRecord(named)}),
            src=self.node,
            dst=SUPERLINK_NODE_ID,
            run=self.coordinator.run,
            reply_to=message.metadata.message_id,
            later=later,
        )

    def push(self, message: Message) -> PushMessagesResponse:
        return self.ask(announcement(self, message))

    def statuses(self, requests: list[object]) -> list[int]:
        """Ask several things at the same time."""

        async def post_all() -> list[httpx.Response]:
            return await asyncio.gather(*(self._posting(one, self.key) for one in requests))

        return [response.status_code for response in asyncio.run(post_all())]

    def _post(self, request: object, key: ec.EllipticCurvePrivateKey) -> httpx.Response:
        return asyncio.run(self._posting(request, key))

    async def _posting(self, request: object, key: ec.EllipticCurvePrivateKey) -> httpx.Response:
        time = now().isoformat()
        headers = {
            "content-type": "application/protobuf",
            TIMESTAMP_HEADER: time,
            FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self.public).decode(),
            FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(key, time.encode())).decode(),
        }

        transport = httpx.ASGITransport(self.coordinator.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            content = request.SerializeToString()
            return await client.post(PATHS[type(request)], content=content, headers=headers)


def whole(
    content: RecordDict, *, src: int, dst: int, run: int, reply_to: str = "", later: float = 0.0
) -> Message:
    """Return a message with its id, as Flower's processes make it."""
    # The answering process must end with the test.
    ttl = 1800.0 if reply_to else 3600.0
    metadata = Metadata(run, "", src, dst, reply_to, "", now().timestamp() + later, ttl, "train")
    message = make_message(metadata=metadata, content=content)
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


def announcement(site: Site, *messages: Message) -> PushMessagesRequest:
    """Return a site's request to push messages, with the list of their objects."""
    bare = [make_message(metadata=m.metadata, content=RecordDict()) for m in messages]
    return PushMessagesRequest(
        node=site.me,
        messages_list=[message_to_proto(message) for message in bare],
        message_object_trees=[get_object_tree(message) for message in messages],
        clientapp_runtime_list=[0.0],
    )
