"""Sites that are silent or slow, at Flower's SuperLink: nothing of theirs stays in its memory."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node, NodeInfo
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid
from flwr.superlink.servicer.runtime import runtime_handlers

from fl_server import site_grid, streaming_grid
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.site_grid import SiteGrid
from fl_server.streaming_grid import StreamingGrid
from strategies.layout import Layout
from tests.fl_server.coordinator.fleet_in_memory import Coordinator, Site, whole

pytestmark = pytest.mark.usefixtures("flower_task")

WEIGHTS = {"w": np.arange(4, dtype=np.float32)}
LAYOUT = Layout.of(WEIGHTS)
METRICS = {"num-examples": 3, "train-loss": 0.5, "optimizer-round": 0, "seconds-message": 1.0}
SECONDS = 0.3


class ServerApp(SiteGrid):
    """The grid of a ServerApp whose requests Flower's own handlers answer.

    A round's time begins when the sites have done all they do, however slow the machine is.
    """

    def __init__(self, coordinator: Coordinator, *sites: Site) -> None:
        self.acts: list[Callable[[], None]] = []  # what sites do, one before each look
        self._began = 0.0
        task = SimpleNamespace(run_id=coordinator.run)
        calls = {
            "PushMessages": runtime_handlers.push_messages,
            "PullMessages": runtime_handlers.pull_messages,
            "PushObject": runtime_handlers.push_object,
            "PullObject": runtime_handlers.pull_object,
            "ConfirmMessageReceived": runtime_handlers.confirm_message_received,
        }
        answers = {k: partial(f, state=coordinator.state, task=task) for k, f in calls.items()}
        self._there = [NodeInfo(node_id=site.node, last_activated_at="8:00") for site in sites]
        flower = SimpleNamespace(
            _runtime_client=SimpleNamespace(**answers),
            node=Node(node_id=SUPERLINK_NODE_ID),
            run=SimpleNamespace(run_id=coordinator.run),
            get_nodes=self._look_around,
        )
        names = {site.node: f"hospital-{index}" for index, site in enumerate(sites)}
        super().__init__(StreamingGrid(cast(HttpGrid, flower)), names, needed=1, poll_seconds=0.001)

    def _look_around(self) -> list[NodeInfo]:
        if self.acts:
            self.acts[0]()
            self._began = time.monotonic()
            self.acts.pop(0)
        return self._there

    def _monotonic(self) -> float:
        return 0.0 if self.acts else time.monotonic() - self._began

    def round(self, number: int, *acts: Callable[[], None]) -> dict[int, str | float]:
        """Return the first weight that each site sent, or the reason why there is none."""
        # The first look is before the messages are sent.
        self.acts = [lambda: None, *acts]
        record = LAYOUT.flatten({"w": WEIGHTS["w"] + number})
        config = ConfigRecord({"round": 1, "number": number})
        content = RecordDict({"arrays": record, "layout": LAYOUT.record(), "config": config})
        sent = [Message(content, about.node_id, "train") for about in self._there]
        with pytest.MonkeyPatch.context() as patch:
            clock = SimpleNamespace(monotonic=self._monotonic, time=time.time, sleep=time.sleep)
            for module in (site_grid, streaming_grid):
                patch.setattr(module, "time", clock)
            return self._answers(sent)

    def _answers(self, sent: list[Message]) -> dict[int, str | float]:
        found: dict[int, str | float] = {}
        for reply in self.ask(sent, needed=1, timeout=SECONDS):
            (node,) = (
                message.metadata.dst_node_id
                for message in sent
                if message.metadata.message_id == reply.metadata.reply_to_message_id
            )
            if reply.has_error():
                found[node] = str(reply.error.reason)
            else:
                found[node] = float(LAYOUT.views(cast(Any, reply.content["arrays"]))["w"][0])
        return found


@pytest.fixture
def coordinator(
    coordinator_folder: CoordinatorFolder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Coordinator]:
    made = Coordinator(coordinator_folder, checked=True)
    monkeypatch.setattr(TaskIdentity, "_run_id", made.run)
    monkeypatch.setattr(TaskIdentity, "_node_id", SUPERLINK_NODE_ID)
    yield made
    # Whatever happened, no message, no reply and no part of one is left.
    assert len(made.state.object_store) == 0


@pytest.fixture
def sites(coordinator: Coordinator) -> tuple[Site, Site]:
    return Site(coordinator, "hospital-a"), Site(coordinator, "hospital-b")


def take(site: Site) -> str:
    """Take a message, and confirm it; return its id, or nothing if there is none."""
    for message in site.pull().messages_list:
        request = ConfirmMessageReceivedRequest(
            node=site.me,
            run_id=site.coordinator.run,
            message_object_id=message.metadata.message_id,
        )
        assert site.status(request) == 200
        return str(message.metadata.message_id)
    return ""


class Reply:
    """A site's reply, announced; its parts are sent one after the other."""

    def __init__(self, site: Site, message: str, value: float) -> None:
        update = LAYOUT.flatten({"w": np.full(4, value, np.float32)})
        content = RecordDict({"arrays": update, "metrics": MetricRecord(METRICS)})
        run = site.coordinator.run
        reply = whole(content, src=site.node, dst=SUPERLINK_NODE_ID, run=run, reply_to=message)
        pushed = site.push(reply)
        objects = get_all_nested_objects(reply)
        self._site = site
        self._parts = [
            PushObjectRequest(
                node=site.me,
                run_id=run,
                session_id=pushed.session_id,
                object_id=name,
                object_content=objects[name].deflate(),
            )
            for name in pushed.objects_to_push
        ]

    def send(self, most: int = 10**9) -> list[bool]:
        """Return for each part that is sent whether the SuperLink stored it."""
        now, self._parts = self._parts[:most], self._parts[most:]
        return [self._site.ask(part).stored for part in now]  # type: ignore[attr-defined]


def answer(site: Site, value: float) -> Callable[[], None]:
    """Return what a site does that takes its message and answers at once."""

    def act() -> None:
        assert all(Reply(site, take(site), value).send())

    return act


def test_a_site_that_never_fetches_its_message_is_not_given_it_later(
    coordinator: Coordinator, sites: tuple[Site, Site]
) -> None:
    first, silent = sites
    app = ServerApp(coordinator, *sites)
    found = app.round(1, answer(first, 5.0))
    assert found == {first.node: 5.0, silent.node: f"no answer within {SECONDS} s"}
    assert take(silent) == ""
    found = app.round(2, answer(first, 6.0), answer(silent, 7.0))
    assert found == {first.node: 6.0, silent.node: 7.0}


def test_a_late_reply_is_thrown_away(coordinator: Coordinator, sites: tuple[Site, Site]) -> None:
    """It comes during the next round, in which its site is asked again."""
    first, slow = sites
    taken: list[str] = []
    app = ServerApp(coordinator, *sites)
    found = app.round(1, lambda: taken.append(take(slow)), answer(first, 5.0))
    assert found == {first.node: 5.0, slow.node: f"no answer within {SECONDS} s"}

    def late() -> None:
        Reply(slow, taken[0], 1e3).send()

    found = app.round(2, late, answer(slow, 7.0), answer(first, 6.0))
    assert found == {first.node: 6.0, slow.node: 7.0}


def test_a_reply_of_which_parts_are_missing_is_freed(
    coordinator: Coordinator, sites: tuple[Site, Site]
) -> None:
    """Announced, three parts sent, and the others only when the round is over."""
    first, trickling = sites
    replies: list[Reply] = []
    app = ServerApp(coordinator, trickling, first)

    def begin() -> None:
        replies.append(Reply(trickling, take(trickling), 9.0))
        assert replies[0].send(3) == [True] * 3

    found = app.round(1, answer(first, 5.0), begin)
    assert found == {trickling.node: f"no complete answer within {SECONDS} s", first.node: 5.0}
    assert not any(replies[0].send())
