"""The requests that an admitted site may make, with Flower's own app and handlers, in memory.

Each attack is made twice: on Flower's app as it is, where it works, and on ours, where it does not.
"""

import logging

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    DeactivateNodeRequest,
    PullMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
)

from tests.fl_server.coordinator.fleet_in_memory import Coordinator, Site, announcement, whole


def test_an_honest_round_is_let_through(
    coordinator: Coordinator, attacker: Site, other: Site
) -> None:
    """Every call of a SuperNode, in order, for two rounds and two sites."""
    for number in (1, 2):
        for site in (attacker, other):
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
    for site in (attacker, other):
        assert site.ask(DeactivateNodeRequest(node_id=site.node)) is not None


def test_a_message_in_the_coordinators_name(
    coordinator: Coordinator, attacker: Site, other: Site, checked: bool
) -> None:
    """Before the attacker was given anything, and while it works on a message of its own."""
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
        attacker.given(number)


@pytest.mark.parametrize("checked", [True])
def test_a_forged_message_behind_an_honest_reply(
    coordinator: Coordinator,
    attacker: Site,
    other: Site,
    asked: Message,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Flower checks the first message only, so a request must have only one."""
    forged = whole(RecordDict(), src=SUPERLINK_NODE_ID, dst=other.node, run=coordinator.run)
    reply = attacker.reply(asked)
    with caplog.at_level(logging.WARNING, "operation.body_limits"):
        assert attacker.status(announcement(attacker, reply, forged)) == 403
        assert attacker.status(announcement(attacker)) == 403
    refusals = [r for r in caplog.records if r.name == "operation.body_limits"]
    line = refusals[0].getMessage()
    assert line.startswith("refused 127.0.0.1:")
    assert line.endswith(
        f"POST b'/v1/fleet/push-messages': it does not concern site {attacker.node}"
    )
    assert attacker.push(reply) is not None


@pytest.mark.usefixtures("asked")
def test_a_reply_in_the_others_name(
    coordinator: Coordinator, attacker: Site, other: Site, checked: bool
) -> None:
    """The id of the other's message is a sha256 that only the other was told; here it leaked."""
    reply = other.reply(other.given(1))
    assert (attacker.push(reply) is None) == checked
    assert (len(coordinator.state.message_res_store) == 0) == checked


@pytest.mark.usefixtures("asked")
def test_objects_of_others(
    coordinator: Coordinator, attacker: Site, other: Site, checked: bool
) -> None:
    """Small records can be guessed, and whether an object is there says whether the guess is right.

    Above all the other's counts, which its reply holds.
    """
    reply = other.reply(other.given(1))
    coordinator.put(reply)
    guessed = reply.content.array_records["arrays"].object_id
    about = {"node": attacker.me, "run_id": coordinator.run}
    found = attacker.ask(PullObjectRequest(**about, object_id=guessed))
    assert (found is None) if checked else found.object_found


@pytest.mark.usefixtures("asked")
def test_the_others_message_cannot_be_deleted(
    coordinator: Coordinator, attacker: Site, other: Site, checked: bool
) -> None:
    waiting = coordinator.send(other, 2).metadata.message_id
    about = {"node": attacker.me, "run_id": coordinator.run}
    attacker.ask(ConfirmMessageReceivedRequest(**about, message_object_id=waiting))
    assert (waiting in coordinator.state.object_store) == checked


@pytest.mark.usefixtures("asked")
def test_objects_of_the_others_reply_are_not_pushed(
    coordinator: Coordinator, attacker: Site, other: Site, checked: bool
) -> None:
    """Without a session Flower accepts an object for any message that waits for it."""
    reply = other.reply(other.given(2))
    other.push(reply)
    about = {"node": attacker.me, "run_id": coordinator.run}
    content = {"object_id": reply.object_id, "object_content": reply.deflate()}
    pushed = attacker.ask(PushObjectRequest(**about, **content))
    assert (pushed is None) if checked else pushed.stored


@pytest.mark.usefixtures("asked")
def test_a_run_in_which_it_takes_no_part(
    coordinator: Coordinator, attacker: Site, checked: bool
) -> None:
    about = {"node": attacker.me, "run_id": coordinator.start_run()}
    assert (attacker.ask(GetRunRequest(**about)) is None) == checked
    assert (attacker.ask(GetFabRequest(**about, hash_str=coordinator.fab)) is None) == checked


def test_who_asks_is_checked_first(attacker: Site, other: Site) -> None:
    """Flower's own refusal comes first, so that ours reveals nothing about a site's message."""
    stranger = ec.generate_private_key(ec.SECP384R1())
    assert attacker.status(PullMessagesRequest(node=attacker.me), stranger) == 401
    assert attacker.status(GetRunRequest(node=attacker.me, run_id=1), stranger) == 401
    assert attacker.status(PullMessagesRequest(node=other.me)) == 401
