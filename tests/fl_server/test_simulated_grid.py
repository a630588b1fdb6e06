"""A simulation's grid: a window of messages, and deliveries without delay."""

import threading
import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flwr.app import Message, RecordDict

from fl_server import simulated_grid
from fl_server.simulated_grid import SimulatedGrid
from operation.flower_internals import InMemoryGrid
from tests.support import MemoryGrid, deliver

pytestmark = pytest.mark.usefixtures("flower_task")


class Nodes(MemoryGrid):
    """Each pull finds the replies of the nodes that are ready by then.

    Args:
        pulls: the nodes that have answered by each pull, if they were asked by then; the last goes
            on for ever.
    """

    def __init__(self, *pulls: set[int]) -> None:
        super().__init__({})
        self.state = SimpleNamespace(store_message_res=lambda message: "stored")
        self._pulls = list(pulls)
        self.open: dict[str, Message] = {}
        self.most = 0

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = {message.metadata.message_id: message for message in deliver(messages)}
        self.open |= sent
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        self.most = max(self.most, len(self.open))
        ready = self._pulls.pop(0) if len(self._pulls) > 1 else self._pulls[0]
        wanted = [self.open[name] for name in message_ids]
        found = [message for message in wanted if message.metadata.dst_node_id in ready]
        for message in found:
            del self.open[message.metadata.message_id]
        return [Message(RecordDict(), reply_to=message) for message in found]


def grid_of(nodes: Nodes, window: int) -> SimulatedGrid:
    return SimulatedGrid(cast(InMemoryGrid, nodes), window)


def messages(*nodes: int) -> list[Message]:
    return [Message(RecordDict(), node, "train") for node in nodes]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_grid, "LOOK_SECONDS", 0.001)


def answered(grid: SimulatedGrid, *nodes: int, **how: Any) -> list[int]:
    replies = grid.send_and_receive(messages(*nodes), **how)
    return [reply.metadata.src_node_id for reply in replies]


def test_every_message_is_answered_with_few_under_way() -> None:
    nodes = Nodes({1, 2, 3, 4, 5, 6, 7})
    assert answered(grid_of(nodes, 3), 1, 2, 3, 4, 5, 6, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert nodes.most == 3
    assert nodes.open == {}


def test_replies_before_their_turn_count_as_under_way() -> None:
    """Node 1 is slow: of a window of 3 only 2 and 3 are asked besides, until it has answered."""
    nodes = Nodes({2, 3, 4, 5}, {2, 3, 4, 5}, {1, 2, 3, 4, 5})
    grid = grid_of(nodes, 3)
    come = grid.send_and_receive(messages(1, 2, 3, 4, 5))
    assert [next(come).metadata.src_node_id for _ in range(2)] == [2, 3]
    assert [one.metadata.dst_node_id for one in nodes.open.values()] == [1]
    assert [reply.metadata.src_node_id for reply in come] == [1, 4, 5]


def test_after_the_time_the_rest_is_not_waited_for() -> None:
    assert answered(grid_of(Nodes({1}), 2), 1, 2, 3, timeout=0.05) == [1]


def test_a_reply_is_taken_as_soon_as_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_grid, "LOOK_SECONDS", 60)
    nodes = Nodes(set(), {1})
    grid = grid_of(nodes, 9)
    come = grid.send_and_receive(messages(1))
    found: list[Message] = []
    taker = threading.Thread(target=lambda: found.extend(come))
    taker.start()
    while not nodes.open:  # not sent yet
        time.sleep(0.001)
    (sent,) = nodes.open.values()
    assert nodes.state.store_message_res(Message(RecordDict(), reply_to=sent)) == "stored"
    taker.join(30)
    assert [reply.metadata.src_node_id for reply in found] == [1]


def test_every_message_is_delivered_once_and_without_asking_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of all nodes, also one that is sent while the others are taken."""
    monkeypatch.setattr(simulated_grid, "IDLE_SECONDS", 60)
    nodes = Nodes(set())
    grid = grid_of(nodes, 9)
    first, second, third = messages(20, 10, 20)
    grid.push_messages([first, second])
    delivery = iter(nodes.state.get_message_ins(node_id=10, limit=1))
    assert [next(delivery), next(delivery)] == [first, second]
    later = threading.Timer(0.01, lambda: grid.push_messages([third]))
    later.start()
    assert next(delivery) == third
    assert all(message.metadata.delivered_at for message in (first, second, third))
    monkeypatch.setattr(simulated_grid, "IDLE_SECONDS", 0.001)
    assert list(delivery) == []
    later.join()


def test_a_delivery_without_messages_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower then looks whether the run has ended; at other nodes it does not wait."""
    monkeypatch.setattr(simulated_grid, "IDLE_SECONDS", 0.001)
    nodes = Nodes(set())
    grid = grid_of(nodes, 9)
    assert list(nodes.state.get_message_ins(node_id=10, limit=1)) == []
    monkeypatch.setattr(simulated_grid, "IDLE_SECONDS", 60)
    grid.push_messages(messages(20))
    assert list(nodes.state.get_message_ins(node_id=20, limit=1)) == []
