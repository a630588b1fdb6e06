import time
from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict

from fl_server.nodes import (
    FederationError,
    Gathered,
    Introduction,
    check_bases,
    introductions,
    summed_class_counts,
    wait_for_nodes,
)
from tests.support import MemoryGrid, settings_of

pytestmark = pytest.mark.usefixtures("flower_task")

Node = Callable[[Message], Message | None]


def called(name: str, **more: str) -> Node:
    """A node that introduces itself by this name, with as many training images as letters."""

    def introduce(message: Message) -> Message:
        about = {"name": name, "classes": ["a"], "dataset": "ham10000", "fingerprint": "f" * 64}
        client = ConfigRecord({**about, "device": "cpu", "synthetic": False, **more})
        numbers = {"num-train": len(name), "num-validation": 2, "num-test": 1, "threads": 1}
        sizes = MetricRecord(numbers)
        return Message(RecordDict({"client": client, "metrics": sizes}), reply_to=message)

    return introduce


def grid_of(*names: str) -> MemoryGrid:
    """Nodes whose numbers fall as their names rise."""
    return MemoryGrid({100 - index: called(name) for index, name in enumerate(names)})


def introduce(grid: MemoryGrid) -> dict[int, Introduction]:
    return introductions(grid, list(grid.nodes), "seed = 0", wait_seconds=3)


def test_as_many_nodes_as_clients_are_taken_in_order_of_their_numbers() -> None:
    assert wait_for_nodes(grid_of("a", "b", "c"), 3) == [98, 99, 100]


def test_nodes_that_come_late_are_waited_for() -> None:
    class Slow(MemoryGrid):
        asked = 0

        def get_node_ids(self) -> list[int]:
            self.asked += 1
            return list(range(min(self.asked, 3)))

    assert wait_for_nodes(Slow({}), 3, wait_seconds=5) == [0, 1, 2]


def test_too_few_nodes_end_the_wait_with_the_remedy() -> None:
    started = time.monotonic()
    with pytest.raises(FederationError) as caught:
        wait_for_nodes(grid_of("a", "b"), 3, wait_seconds=0.3)
    assert 0.3 <= time.monotonic() - started < 2
    assert str(caught.value) == (
        "the federation has 2 nodes, but the config has clients = 3: start it with  "
        "flwr run . --federation-config 'num-supernodes=3'  or set clients = 2"
    )


def test_too_many_nodes_are_refused_at_once() -> None:
    """Who would be left out?"""
    started = time.monotonic()
    with pytest.raises(FederationError, match="has 3 nodes, but the config has clients = 2"):
        wait_for_nodes(grid_of("a", "b", "c"), 2)
    assert time.monotonic() - started < 1


def test_participants_come_in_the_natural_order_of_their_names() -> None:
    """client-10 after client-2, whatever the nodes' numbers and the order of replies."""
    grid = grid_of("client-10", "client-2", "client-1", "client-0")
    found = introduce(grid)
    assert [(node, one.name, one.sizes) for node, one in found.items()] == [
        (97, "client-0", {"train": 8, "validation": 2, "test": 1}),
        (98, "client-1", {"train": 8, "validation": 2, "test": 1}),
        (99, "client-2", {"train": 8, "validation": 2, "test": 1}),
        (100, "client-10", {"train": 9, "validation": 2, "test": 1}),
    ]
    assert {message.metadata.message_type for message in grid.sent} == {"query"}
    assert {settings_of(message)["experiment"] for message in grid.sent} == {"seed = 0"}


@pytest.mark.parametrize(
    "names",
    [
        ["berlin", "münchen", "site-1", "site-1a", "site-2", "site-10", "zürich-1"],
        ["1", "2", "2b", "10", "a"],
        ["a-1-2", "a-1-10", "a-2-1"],
    ],
)
def test_natural_order_of_other_names(names: list[str]) -> None:
    shuffled = [*names[1::2], *reversed(names[::2])]
    assert [one.name for one in introduce(grid_of(*shuffled)).values()] == names


def test_two_of_one_name_are_refused() -> None:
    message = r"^two nodes have the same name; the names are \['a', 'b', 'b'\]$"
    with pytest.raises(FederationError, match=message):
        introduce(grid_of("b", "a", "b"))


def test_a_node_that_cannot_open_its_data_says_why() -> None:
    reason = "Traceback (most recent call last):\n  File x\nDataError: /data: no such folder"
    grid = grid_of("a", "b")
    grid.nodes = {
        **grid.nodes,
        7: lambda message: Message(Error(code=8, reason=reason), reply_to=message),
    }
    with pytest.raises(FederationError) as caught:
        introduce(grid)
    assert str(caught.value) == "node 7 cannot take part: DataError: /data: no such folder"


def test_a_node_that_says_something_else_is_named() -> None:
    grid = MemoryGrid({5: called("a"), 7: called("b\x1b[2J")})
    with pytest.raises(FederationError, match=r"^node 7 .*its name is not a line of at most") as e:
        introduce(grid)
    assert str(e.value).isprintable()


def test_a_node_that_says_nothing_is_named() -> None:
    grid = MemoryGrid({5: called("a"), 7: lambda message: None})
    with pytest.raises(FederationError, match=r"^node 7 did not send its name within 3 s$"):
        introduce(grid)


def test_clients_say_what_base_they_have() -> None:
    grid = MemoryGrid({5: called("a", base="0" * 64), 7: called("b")})
    assert {one.name: one.base for one in introduce(grid).values()} == {"a": "0" * 64, "b": None}


def introduction(name: str, **more: Any) -> Introduction:
    sizes = {"train": 5, "validation": 1, "test": 1}
    return Introduction(name, sizes, "ham10000", ("a", "b"), "f" * 64, False, "cpu", 1, **more)


def test_whoever_has_another_base_is_named() -> None:
    bases = {"a": "0" * 64, "b": "1" * 64, "c": None}
    present = {name: introduction(name, base=base) for name, base in bases.items()}
    check_bases({"a": present["a"]}, "0" * 64)
    with pytest.raises(FederationError) as caught:
        check_bases(present, "0" * 64)
    assert str(caught.value) == (
        "b, c: not the base that this server has (sha256 000000000000…); each needs the same "
        "pretrained weights, and the same versions of torch and torchvision"
    )


def gathered(**counts: list[int] | None) -> Gathered:
    """Clients with five training images each."""
    present = {name: introduction(name, class_counts=its) for name, its in counts.items()}
    sizes = {name: one.sizes for name, one in present.items()}
    return Gathered(dict(enumerate(counts)), sizes, present)


def test_class_counts_are_summed() -> None:
    assert summed_class_counts(gathered(a=[5, 0, 0], b=[1, 3, 1]), 3) == [6, 3, 1]


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        (None, "b: gives no counts of its classes, which its policy forbids; set class-counts"),
        ([5, 0], "b: its counts of 3 classes are not those of its 5 training images"),
        ([5, 1, 0], "b: its counts of 3 classes are not those of its 5 training images"),
    ],
)
def test_class_counts_that_cannot_be_summed(counts: list[int] | None, complaint: str) -> None:
    with pytest.raises(FederationError, match=complaint):
        summed_class_counts(gathered(a=[5, 0, 0], b=counts), 3)
