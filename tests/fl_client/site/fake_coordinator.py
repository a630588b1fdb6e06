"""A coordinator without a network, and a node that works for it with Flower's own loop."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectUnavailableError,
    inflate_object_from_contents,
    pull_and_inflate_object_from_tree,
)
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supernode import start_client_internal as flower
from flwr.supernode.nodestate import NodeStateFactory

from fl_client.site.connection import Connection
from fl_client.site.guard import Guard
from fl_client.site.records import last_records
from fl_client.site.site_folder import SiteFolder
from tests.strategies.replies_of_forms import histograms
from tests.support import end_to_end

NODE, SERVER, RUN = 7, 1, 4711
OPEN = {"experiment": "rounds = 3", "run": "0" * 32, "round": 1}
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
COUNTER = np.array(5)

App = Callable[[Message], Message]


class NothingMore(Exception):
    """The coordinator has no further message."""


class FakeCoordinator:
    """Sends messages to one node and keeps what comes back.

    Attributes:
        answers: the answers, whole.
        unavailable: how often objects are still to be missing, by id, since they have not come.
        pulled: ids of the objects that the node fetched.
        pushed: the objects that came back, by id.
    """

    def __init__(self, bundle: str, override: dict | None = None) -> None:
        self.run = Run.create_empty(RUN)
        self.run.fab_hash, self.run.override_config = bundle, override or {}
        self.objects: dict[str, bytes] = {}
        self.answers: list[Message] = []
        self.unavailable: dict[str, int] = {}
        self.pulled: list[str] = []
        self.pushed: dict[str, bytes] = {}
        self.confirmed: list[str] = []
        self._waiting: list[tuple[Message, ObjectTree]] = []
        self._trees: list[ObjectTree] = []

    def ask(self, message: Message) -> Message:
        """Lay a message ready for the node."""
        message.metadata.__dict__["_message_id"] = message.object_id
        tree = get_object_tree(message)
        self.objects |= {i: o.deflate() for i, o in get_all_nested_objects(message).items()}
        self._waiting.append((message, tree))
        return message

    def connection(self) -> Connection:
        return Connection(
            NODE,
            self._receive,
            self._send,
            lambda _run_id: self.run,
            self._no_bundle,
            self._pull,
            lambda _run_id, _session, object_id, content: self._push(object_id, content),
            lambda _run_id, object_id: self.confirmed.append(object_id),
        )

    def finish(self) -> None:
        """Read the answers whole, as the ServerApp does."""
        self.answers = [
            inflate_object_from_contents(tree.object_id, dict(self.pushed)) for tree in self._trees
        ]

    def _receive(self) -> tuple[Message, ObjectTree]:
        if not self._waiting:
            raise NothingMore
        return self._waiting.pop(0)

    def _send(self, _message: Message, tree: ObjectTree, _runtime: float) -> tuple[set[str], str]:
        self._trees.append(tree)
        return {node.object_id for node in iterate_object_tree(tree)}, "session"

    def _no_bundle(self, _hash: str, _run_id: int) -> None:
        raise AssertionError("a site runs the bundle on its own disk")

    def _pull(self, _run_id: int, object_id: str) -> bytes:
        if self.unavailable.get(object_id):
            self.unavailable[object_id] -= 1
            raise ObjectUnavailableError(object_id)
        self.pulled.append(object_id)
        return self.objects[object_id]

    def _push(self, object_id: str, content: bytes) -> None:
        assert hashlib.sha256(content).hexdigest() == object_id
        self.pushed[object_id] = content


class Node:
    """A guarded node: Flower's own loop and stores, and a function in place of the app."""

    def __init__(self, site: SiteFolder, coordinator: FakeCoordinator) -> None:
        self.coordinator = coordinator
        factory = ObjectStoreFactory()
        self.store = factory.store()
        self.state = NodeStateFactory(factory).state()
        self.state.set_node_id(NODE)
        self.guard = Guard(site, self.store, coordinator.connection())

    def work(self, app: App) -> list[Message]:
        """Work until the coordinator has nothing more; return its answers."""
        guarded = self.guard.connection()
        try:
            while True:
                if flower._pull_and_store_message(
                    state=self.state,
                    object_store=self.store,
                    node_config={},
                    receive=guarded.receive,
                    get_run=guarded.get_run,
                    get_fab=guarded.get_fab,
                    pull_object=guarded.pull_object,
                    confirm_message_received=guarded.confirm_message_received,
                    trusted_entities=None,
                ):
                    self._answer(app)
                    flower._push_messages(
                        state=self.state,
                        object_store=self.store,
                        send=guarded.send,
                        push_object=guarded.push_object,
                    )
        except NothingMore:
            self.coordinator.finish()
            return self.coordinator.answers

    def _answer(self, app: App) -> None:
        """Do what the app's process does, in the order in which it does it."""
        (envelope,) = self.state.get_messages_legacy(is_reply=False)
        message = pull_and_inflate_object_from_tree(
            self.store.get_object_tree(envelope.metadata.message_id),
            lambda object_id: self.store.get(object_id) or b"",
            self.store.delete,
            return_type=Message,
        )
        message.metadata.__dict__["_message_id"] = envelope.metadata.message_id
        flower._insert_message(app(message), self.state, self.store)


def train_message(**settings: object) -> Message:
    """A training message with two arrays; a setting None is left out."""
    config = {k: v for k, v in {**OPEN, **settings}.items() if v is not None}
    arrays = end_to_end({"weight": WEIGHT, "counter": COUNTER})
    content = RecordDict({"config": ConfigRecord(config), **arrays})
    return question("train", content)


def question(kind: str, content: RecordDict) -> Message:
    """A message as it leaves a ServerApp."""
    about = Metadata(
        run_id=RUN,
        message_id="",
        src_node_id=SERVER,
        dst_node_id=NODE,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=3600.0,
        message_type=kind,
        src_task_id=3,
    )
    return make_message(about, content)


def train_reply(message: Message) -> Message:
    """An honest answer to it."""
    arrays = end_to_end({"weight": WEIGHT + 1, "counter": COUNTER})["arrays"]
    metrics: dict[str, int | float | list[int] | list[float]] = {
        "num-examples": 20,
        "train-loss": 0.5,
        "optimizer-round": 0,
        "seconds-message": 1.0,
    }
    if int(str(message.content.config_records["config"]["round"])) > 1:
        judged = {"loss": 0.5, "confusion": [9, 3, 2, 6], "examples": 20}
        judged |= histograms([9, 3, 2, 6], seed=0)
        metrics |= {f"validation-{key}": value for key, value in judged.items()}
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=message)


def arrays_of(message: Message) -> ArrayRecord:
    record = message.content["arrays"]
    assert isinstance(record, ArrayRecord)
    return record


def reason(message: Message) -> str:
    """The text of an error that a site answered with; at most so long, whatever the app said."""
    assert message.has_error()
    assert message.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    text = message.error.reason
    assert text is not None
    assert len(text) <= 300
    return text


def set_up(folder: Path, **coordinator: object) -> tuple[SiteFolder, FakeCoordinator, Node]:
    """A site with one approved bundle, and a coordinator that runs it."""
    from tests.fl_client.site.sites import approve, make_bundle, make_site

    site = make_site(folder)
    sha256 = approve(site, make_bundle(folder / "tiny.fab"))
    asking = FakeCoordinator(sha256, **coordinator)  # type: ignore[arg-type]
    return site, asking, Node(site, asking)


def never(_message: Message) -> Message:
    raise AssertionError("the app must not see this message")


def refused(tmp_path: Path, message: Message, **coordinator: object) -> str:
    """Send a message that must not reach the app, and return why it did not."""
    site, asking, node = set_up(tmp_path, **coordinator)
    asking.ask(message)
    (answer,) = node.work(never)
    assert last_records(site.records)[-1]["event"] == "refused"
    assert asking.confirmed == [message.metadata.message_id]  # its arrays need not be kept
    return reason(answer)
