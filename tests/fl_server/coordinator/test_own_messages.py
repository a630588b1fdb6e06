"""The requests that an admitted site may make, with Flower's own app and handlers, in memory.

Each attack is made twice: on Flower's app as it is, where it works, and on ours, where it does not.
"""

import asyncio
import logging
from base64 import b64encode

import httpx
import numpy as np
import pytest
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
    iterate_object_tree,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

from fl_server.coordinator.folder import CoordinatorFolder, Settings
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

    def reply(self, message: Message) -> Message:
        content = RecordDict({"arrays": ArrayRecord({"w": Array(WEIGHT + self.node % 7 + 1)})})
        return whole(
            content,
            src=self.node,
            dst=SUPERLINK_NODE_ID,
            run=self.coordinator.run,
            reply_to=message.metadata.message_id,
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


def whole(content: RecordDict, *, src: int, dst: int, run: int, reply_to: str = "") -> Message:
    # The answering process must end with the test.
    ttl = 1800.0 if reply_to else 3600.0
    metadata = Metadata(run, "", src, dst, reply_to, "", now().timestamp(), ttl, "train")
    message = make_message(metadata=metadata, content=content)
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


def announcement(site: Site, *messages: Message) -> PushMessagesRequest:
    bare = [make_message(metadata=m.metadata, content=RecordDict()) for m in messages]
    return PushMessagesRequest(
        node=site.me,
        messages_list=[message_to_proto(message) for message in bare],
        message_object_trees=[get_object_tree(message) for message in messages],
        clientapp_runtime_list=[0.0],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CoordinatorFolder:
    folder = CoordinatorFolder(tmp_path_factory.mktemp("own") / "coordinator")
    folder.create(Settings(host="localhost", port=443, bind="127.0.0.1"))
    return folder


@pytest.fixture(params=[True, False], ids=["ours", "flower"])
def checked(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def coordinator(folder: CoordinatorFolder, checked: bool) -> Coordinator:
    return Coordinator(folder, checked=checked)


@pytest.fixture
def sites(coordinator: Coordinator) -> tuple[Site, Site]:
    """The attacker, which works on its own message, and the other site."""
    return Site(coordinator, "hospital-a"), Site(coordinator, "hospital-b")


def test_an_honest_round_is_let_through(coordinator: Coordinator, sites: tuple[Site, Site]) -> None:
    """Every call of a SuperNode, in order, for two rounds and two sites."""
    for number in (1, 2):
        for site in sites:
            asked = coordinator.send(site, number)
            assert site.ask(SendNodeHeartbeatRequest(node=site.me, heartbeat_interval=30)).success
            pulled = site.pull()
            assert pulled.messages_list[0].metadata.message_id == asked.metadata.message_id
            about = {"node": site.me, "run_id": coordinator.run}
            assert site.ask(GetRunRequest(**about)).run.fab_hash == coordinator.fab
            assert site.ask(GetFabRequest(**about, hash_str=coordinator.fab)).fab.content
            for object_id in get_all_nested_objects(asked):
                assert site.ask(PullObjectRequest(**about, object_id=object_id)).object_found
            confirmed = {"message_object_id": asked.metadata.message_id}
            assert site.ask(ConfirmMessageReceivedRequest(**about, **confirmed)) is not None
            reply = site.reply(asked)
            # The first answer was lost on its way, and Flower's connection asks again.
            site.push(reply)
            taken = site.push(reply)
            assert reply.object_id in taken.objects_to_push
            objects = get_all_nested_objects(reply)
            for object_id in taken.objects_to_push:
                pushed = PushObjectRequest(
                    **about,
                    session_id=taken.session_id,
                    object_id=object_id,
                    object_content=objects[object_id].deflate(),
                )
                assert site.ask(pushed).stored
            answers = coordinator.state.get_message_res(
                {asked.metadata.message_id}, coordinator.run
            )
            assert [m.metadata.message_id for m in answers] == [reply.metadata.message_id]
            assert not site.pull().messages_list
            coordinator.state.delete_messages({asked.metadata.message_id})
    for site in sites:
        assert site.ask(DeactivateNodeRequest(node_id=site.node)) is not None


def test_a_message_in_the_coordinators_name(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """Before the attacker was given anything, and while it works on a message of its own."""
    attacker, other = sites
    for number in (1, 2):
        forged = whole(
            RecordDict({"config": ConfigRecord({"n": number})}),
            src=SUPERLINK_NODE_ID,
            dst=other.node,
            run=coordinator.run,
        )
        answer = attacker.push(forged)
        assert (answer is None) == checked
        assert (forged.metadata.message_id in coordinator.waiting_for(other)) != checked
        coordinator.send(attacker, number)
        attacker.pull()


def test_a_forged_message_behind_an_honest_reply(
    folder: CoordinatorFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """Flower checks the first message only, so a request must have only one."""
    coordinator = Coordinator(folder, checked=True)
    attacker, other = Site(coordinator, "a"), Site(coordinator, "b")
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    forged = whole(RecordDict(), src=SUPERLINK_NODE_ID, dst=other.node, run=coordinator.run)
    reply = attacker.reply(asked)
    with caplog.at_level(logging.WARNING, "operation.refusals"):
        assert attacker.status(announcement(attacker, reply, forged)) == 403
        assert attacker.status(announcement(attacker)) == 403
    refusals = [r for r in caplog.records if r.name == "operation.refusals"]
    line = refusals[0].getMessage()
    assert line.startswith("refused 127.0.0.1:")
    assert line.endswith(
        f"POST b'/v1/fleet/push-messages': it does not concern site {attacker.node}"
    )
    assert attacker.push(reply) is not None


def test_a_reply_in_the_others_name(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """The id of the other's message is a sha256 that only the other was told; here it leaked."""
    attacker, other = sites
    asked = coordinator.send(other, 1)
    coordinator.send(attacker, 1)
    attacker.pull(), other.pull()
    assert (attacker.push(other.reply(asked)) is None) == checked
    assert (len(coordinator.state.message_res_store) == 0) == checked


def test_objects_of_others(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """Small records can be guessed, and whether an object is there says whether the guess is right.

    Above all the other's counts, which its reply holds.
    """
    attacker, other = sites
    asked = coordinator.send(other, 1)
    coordinator.send(attacker, 1)
    attacker.pull(), other.pull()
    coordinator.put(other.reply(asked))
    guessed = other.reply(asked).content.array_records["arrays"].object_id
    about = {"node": attacker.me, "run_id": coordinator.run}
    found = attacker.ask(PullObjectRequest(**about, object_id=guessed))
    assert (found is None) if checked else found.object_found


def test_the_others_message_cannot_be_deleted(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    attacker, other = sites
    asked = coordinator.send(other, 1).metadata.message_id
    coordinator.send(attacker, 2)
    attacker.pull()
    attacker.ask(
        ConfirmMessageReceivedRequest(
            node=attacker.me, run_id=coordinator.run, message_object_id=asked
        )
    )
    assert (asked in coordinator.state.object_store) == checked


def test_objects_of_the_others_reply_are_not_pushed(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """Without a session Flower accepts an object for any message that waits for it."""
    attacker, other = sites
    asked = coordinator.send(other, 1)
    coordinator.send(attacker, 2)
    attacker.pull(), other.pull()
    reply = other.reply(asked)
    other.push(reply)
    pushed = attacker.ask(
        PushObjectRequest(
            node=attacker.me,
            run_id=coordinator.run,
            object_id=reply.object_id,
            object_content=reply.deflate(),
        )
    )
    assert (pushed is None) if checked else pushed.stored


def test_a_run_in_which_it_takes_no_part(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    attacker, _ = sites
    coordinator.send(attacker, 1)
    attacker.pull()
    about = {"node": attacker.me, "run_id": coordinator.start_run()}
    assert (attacker.ask(GetRunRequest(**about)) is None) == checked
    assert (attacker.ask(GetFabRequest(**about, hash_str=coordinator.fab)) is None) == checked


def test_who_asks_is_checked_first(sites: tuple[Site, Site]) -> None:
    """Flower's own refusal comes first, so that ours reveals nothing about a site's message."""
    attacker, other = sites
    stranger = ec.generate_private_key(ec.SECP384R1())
    assert attacker.status(PullMessagesRequest(node=attacker.me), stranger) == 401
    assert attacker.status(GetRunRequest(node=attacker.me, run_id=1), stranger) == 401
    assert attacker.status(PullMessagesRequest(node=other.me)) == 401


def test_the_largest_that_a_site_sends_is_let_in() -> None:
    """A piece of an array, and the list of the objects of 1500 arrays, with room to spare."""
    from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE

    from operation.bodies import LARGEST_BYTES

    arrays = {f"encoder.stages.{i}.weight": Array(np.full(2, i)) for i in range(1500)}
    message = whole(RecordDict({"arrays": ArrayRecord(arrays)}), src=2, dst=1, run=3)
    tree = get_object_tree(message)
    listed = PushMessagesRequest(message_object_trees=[tree]).ByteSize()
    piece = PushObjectRequest(
        run_id=2**63,
        session_id="-" * 36,
        object_id="0" * 64,
        object_content=bytes(FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE + 100),
    ).ByteSize()
    record = len(message.content.array_records["arrays"].deflate())
    assert max(listed, piece, record) < LARGEST_BYTES / 1.5


def test_a_reply_lays_down_no_more_objects_than_it_may(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """A message of 6 objects, and 16 more are allowed: 23 are too many, of 8 MiB each."""
    attacker, _ = sites
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    assert len(get_all_nested_objects(asked)) == 6
    for arrays, allowed in ((9, True), (10, False)):
        # A message, a record dict, a record; an array and its chunk each: 3 + 2·arrays.
        named = {f"w{i}": Array(np.full(1, i)) for i in range(arrays)}
        reply = whole(
            RecordDict({"arrays": ArrayRecord(named)}),
            src=attacker.node,
            dst=SUPERLINK_NODE_ID,
            run=coordinator.run,
            reply_to=asked.metadata.message_id,
        )
        assert len(get_all_nested_objects(reply)) == 3 + 2 * arrays
        refused = attacker.status(announcement(attacker, reply)) == 403
        assert refused == (checked and not allowed)


def test_a_second_reply_to_one_message(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """Announced again and again, other objects each time would fill the memory."""
    attacker, _ = sites
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    first, second = attacker.reply(asked), attacker.reply(asked)
    second.metadata.created_at += 1e-3
    second.metadata.__dict__["_message_id"] = second.object_id
    assert attacker.status(announcement(attacker, first)) == 200
    assert attacker.status(announcement(attacker, first)) == 200
    assert (attacker.status(announcement(attacker, second)) == 403) == checked


def test_one_reply_announced_with_other_objects(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """The id of a message names its objects; what Flower takes down is the tree beside it."""
    attacker, _ = sites
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    reply = attacker.reply(asked)
    assert attacker.status(announcement(attacker, reply)) == 200
    again = announcement(attacker, reply)
    again.message_object_trees[0].children.add(object_id="f" * 64)
    store = coordinator.state.object_store
    assert (attacker.status(again) == 403) == checked
    assert ("f" * 64 in store) != checked


def test_a_tree_that_becomes_larger_than_it_was_announced(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """Ten objects, each twice below the one before, become 2¹¹ - 1; forty would take all memory."""
    attacker, _ = sites
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    request = announcement(attacker, attacker.reply(asked))
    tree = node = request.message_object_trees[0]
    del tree.children[:]
    for number in range(10):
        twice = [node.children.add(object_id=f"{number:064x}") for _ in range(2)]
        node = twice[0]
    assert (attacker.status(request) == 403) == checked
    if not checked:
        written = coordinator.state.object_store.get_object_tree(tree.object_id)
        assert sum(1 for _ in iterate_object_tree(written)) == 2**11 - 1


@pytest.mark.parametrize("again", [True, False], ids=["in one reply", "in a later one"])
def test_an_object_with_other_children_than_before(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool, again: bool
) -> None:
    """Named without its children it would bring them along, and over some replies grow the same."""
    attacker, _ = sites
    first = announcement(attacker, attacker.reply(coordinator.send(attacker, 1)))
    attacker.pull()
    tree = first.message_object_trees[0]
    del tree.children[:]
    tree.children.add(object_id="a" * 64).children.add(object_id="b" * 64)
    if again:
        tree.children.add(object_id="c" * 64).children.add(object_id="a" * 64)
        assert (attacker.status(first) == 403) == checked
        return
    assert attacker.status(first) == 200
    later = announcement(attacker, attacker.reply(coordinator.send(attacker, 2)))
    attacker.pull()
    later.message_object_trees[0].children.add(object_id="a" * 64)
    assert (attacker.status(later) == 403) == checked


def test_replies_announced_at_the_same_time(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    """Each before any other is answered: objects of one of them are taken, not of all."""
    attacker, _ = sites
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    requests = []
    for number in range(8):
        reply = attacker.reply(asked)
        reply.metadata.created_at += number * 1e-3
        reply.metadata.__dict__["_message_id"] = reply.object_id
        requests.append(announcement(attacker, reply))
    let_through = [status != 403 for status in attacker.statuses(requests)]
    assert sum(let_through) == (1 if checked else 8)


def test_a_reply_that_flower_does_not_take_may_be_followed_by_another(
    coordinator: Coordinator, sites: tuple[Site, Site]
) -> None:
    """An id that is no sha256 is an error to Flower; the site may say so in place of its reply."""
    attacker, _ = sites
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    damaged = announcement(attacker, attacker.reply(asked))
    damaged.message_object_trees[0].children.add(object_id="no id")
    assert attacker.status(damaged) == 500
    assert attacker.status(announcement(attacker, attacker.reply(asked))) == 200


def test_an_error_of_half_a_megabyte(
    coordinator: Coordinator, sites: tuple[Site, Site], checked: bool
) -> None:
    attacker, _ = sites
    asked = coordinator.send(attacker, 1)
    attacker.pull()
    request = announcement(attacker, attacker.reply(asked))
    request.messages_list[0].ClearField("content")
    request.messages_list[0].error.code = 2
    request.messages_list[0].error.reason = "x" * 500_000
    assert (attacker.status(request) == 403) == checked
    request.messages_list[0].error.reason = "x" * 300
    assert attacker.status(request) == 200
