"""A node that answers for an app that ended, and that passes a message on as it arrives."""

import asyncio
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode, SubStatus
from flwr.supercore.constant import TASK_TOKEN_HEADER, TaskType
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.nodestate import NodeStateFactory

from fl_client.site import supernode
from fl_client.site.supernode import AnsweringState, runtime_api
from tests.fl_client.site.fake_coordinator import NODE, RUN, question


@pytest.mark.parametrize("fetched", [True, False])
def test_an_app_that_ends_without_an_answer_is_answered_for(fetched: bool) -> None:
    """Flower itself would wait for its reply for ever."""
    state = AnsweringState(ObjectStoreFactory().store())
    state.set_node_id(NODE)
    task = state.create_task(task_type=TaskType.CLIENT_APP, run_id=RUN, fab_hash="0" * 64)
    assert task is not None
    state.claim_task(task)
    state.activate_task(task)
    message = question("train", RecordDict())
    message.metadata.__dict__["_message_id"] = message.object_id
    state.store_message(message)
    if fetched:
        assert state.get_messages_legacy(is_reply=False)
    assert state.finish_task(task, SubStatus.FAILED, "")
    (answer,) = state.get_messages_legacy(is_reply=True)
    assert answer.metadata.reply_to_message_id == message.object_id
    assert answer.error.code == ErrorCode.CLIENT_APP_CRASHED


def test_an_app_that_answered_is_not_answered_for() -> None:
    state = AnsweringState(ObjectStoreFactory().store())
    state.set_node_id(NODE)
    task = state.create_task(task_type=TaskType.CLIENT_APP, run_id=RUN, fab_hash="0" * 64)
    assert task is not None
    state.claim_task(task)
    state.activate_task(task)
    message = question("train", RecordDict())
    message.metadata.__dict__["_message_id"] = message.object_id
    state.store_message(message)
    state.get_messages_legacy(is_reply=False)
    reply = Message(RecordDict(), reply_to=message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    state.store_message(reply)
    state.finish_task(task, SubStatus.COMPLETED, "")
    assert len(state.get_messages_legacy(is_reply=True)) == 1


class TestAnObjectOnItsWay:
    message = question("train", RecordDict())

    def state(self) -> AnsweringState:
        """A node's state that knows the message's objects and has none of them."""
        state = AnsweringState(ObjectStoreFactory().store())
        state.object_store.preregister(RUN, get_object_tree(self.message))
        return state

    def test_is_given_when_it_has_come(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It comes after the first look, while the app's request waits."""
        state = self.state()
        waited = []

        def come(seconds: float) -> None:
            waited.append(seconds)
            state.object_store.put(self.message.object_id, self.message.deflate())

        monkeypatch.setattr(supernode.time, "sleep", come)
        assert state.get_object(RUN, self.message.object_id) == self.message.deflate()
        assert len(waited) == 1

    def test_is_not_there_yet_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The app asks again then, as Flower has it; so a request never hangs."""
        monkeypatch.setattr(supernode, "_COMING_SECONDS", 0.0)
        assert self.state().get_object(RUN, self.message.object_id) == b""

    def test_that_nobody_knows_is_not_waited_for(self) -> None:
        assert self.state().get_object(RUN, "0" * 64) is None


def test_who_has_no_token_of_a_task_cannot_fill_the_memory() -> None:
    """Other users of the machine reach the Runtime API; its app brings pieces of 5 MB."""

    def status(token: str, length: int) -> int:
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/v1/runtime/push-object",
            "raw_path": b"/v1/runtime/push-object",
            "query_string": b"",
            "headers": [
                (TASK_TOKEN_HEADER.encode(), token.encode()),
                (b"content-length", str(length).encode()),
            ],
            "client": ("127.0.0.1", 9),
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(app(scope, receive, send))
        return int(sent[0]["status"])

    objects = ObjectStoreFactory()
    states = NodeStateFactory(objects)
    states.state_instance = state = AnsweringState(objects.store())
    state.set_node_id(NODE)
    task = state.create_task(task_type=TaskType.CLIENT_APP, run_id=RUN, fab_hash="0" * 64)
    assert task is not None
    token = state.claim_task(task)
    assert token is not None
    app = runtime_api(states, b"secret")
    assert status("guess", 70_000) == 413
    assert status("guess", 60_000) != 413
    assert status(token, 5_300_000) != 413
    assert status(token, 9_000_000) == 413
