"""The guard between Flower's own loop and a coordinator that is a Python object."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, pull_objects
from flwr.supercore.run import RunNotRunningException

from fl_client.site import guard
from fl_client.site.records import last_records
from strategies.arrays import to_record, views
from strategies.exchange import LOCAL, LOCAL_LAYOUT
from strategies.layout import Layout
from tests.fl_client.site.fake_coordinator import (
    COUNTER,
    RUN,
    WEIGHT,
    arrays_of,
    never,
    reason,
    refused,
    set_up,
    train_message,
    train_reply,
)
from tests.support import end_to_end


def test_an_honest_reply_leaves_as_it_is(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    asked = coordinator.ask(train_message())
    (answer,) = node.work(train_reply)
    found = views(arrays_of(answer))
    assert np.array_equal(found["float32"], (WEIGHT + 1).ravel())
    assert np.array_equal(found["int64"], [COUNTER])
    assert answer.metadata.reply_to_message_id == asked.metadata.message_id
    assert coordinator.confirmed == [asked.metadata.message_id]
    came, went = last_records(site.records)
    assert [came["event"], went["event"]] == ["in", "out"]
    assert [came["round"], went["round"]] == [1, 1]
    # 2 · 3 values of four bytes, and one of eight.
    assert {r["name"]: r["bytes"] for r in went["records"]}["arrays"] == 24 + 8
    assert {r["sha256"] for r in went["records"]} <= coordinator.pushed.keys()


def test_a_receipt_that_is_lost_on_the_way_does_not_cost_the_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that was sent again, since nothing was heard of it, is refused by Flower."""
    _, coordinator, node = set_up(tmp_path)
    push = coordinator._push

    def push_again(object_id: str, content: bytes) -> None:
        push(object_id, content)
        raise ObjectPushError(object_id, 1, "session")

    monkeypatch.setattr(coordinator, "_push", push_again)
    coordinator.ask(train_message())
    (answer,) = node.work(train_reply)
    assert np.array_equal(views(arrays_of(answer))["float32"], (WEIGHT + 1).ravel())


def test_no_object_is_fetched_twice(tmp_path: Path) -> None:
    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    node.work(train_reply)
    assert sorted(coordinator.pulled) == sorted(coordinator.objects)


def test_objects_are_fetched_while_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message is announced before its objects come; Flower's own patience is not needed."""
    monkeypatch.setattr(guard, "_LOOK_SECONDS", 0.001)
    monkeypatch.setitem(pull_objects.__kwdefaults__, "max_tries_per_object", 1)
    _, coordinator, node = set_up(tmp_path)
    message = coordinator.ask(train_message())
    coordinator.unavailable = dict.fromkeys(coordinator.objects, 3)
    node.work(train_reply)
    assert coordinator.confirmed == [message.metadata.message_id]
    assert set(coordinator.unavailable.values()) == {0}


def test_what_tells_of_arrays_leaves_before_their_data(tmp_path: Path) -> None:
    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    node.work(train_reply)
    kinds = [content.split(b" ")[0] for content in coordinator.pushed.values()]
    assert kinds[-2:] == [b"ArrayChunk"] * 2  # one of each array
    assert b"ArrayChunk" not in kinds[:-2]
    # The message, its records, the two of them, and two arrays.
    assert len(kinds) == 1 + 1 + 2 + 2 + 2


def test_nothing_of_a_message_or_a_reply_is_kept(tmp_path: Path) -> None:
    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    node.work(train_reply)
    assert len(node.store) == 0
    assert node.guard._pulled == {}


def test_what_cannot_be_recorded_does_not_happen(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    site.records.mkdir()  # a file that cannot be written, to root neither
    coordinator.ask(train_message())
    assert reason(node.work(never)[0]).endswith("its records cannot be written")


def test_records_are_lines_of_json(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    node.work(train_reply)
    for line in site.records.read_text().splitlines():
        found = json.loads(line)
        assert found["run"] == "4711"
        assert found["type"] == "train"


def test_a_site_looks_often_while_a_run_is_on_and_seldom_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, coordinator, node = set_up(tmp_path)
    guard = node.guard
    assert guard._pause() == 8.0  # no run was ever on
    coordinator.ask(train_message())
    node.work(train_reply)
    asked = []

    def get_run(run_id: int) -> None:
        asked.append(run_id)
        if len(asked) > 1:
            raise RunNotRunningException

    monkeypatch.setattr(guard, "_real", guard._real._replace(get_run=get_run))
    assert [guard._pause(), guard._pause()] == [0.5, 0.5]
    assert asked == [RUN]
    now = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert [guard._pause(), guard._pause()] == [8.0, 8.0]
    assert asked == [RUN, RUN]


def fedbn_message(**more: np.ndarray) -> Message:
    """A training message of FedBN's: a weight and more to train, and BatchNorm's first values."""
    bn = {"bn.running_mean": np.zeros(2, np.float32), "bn.weight": np.ones(2, np.float32)}
    layout = Layout.of(bn)
    message = train_message(experiment='rounds = 3\nstrategy = "fedbn"')
    for name, record in end_to_end({"weight": WEIGHT, "counter": COUNTER, **more}).items():
        message.content[name] = record
    message.content[LOCAL] = layout.flatten(bn)
    message.content[LOCAL_LAYOUT] = layout.record()
    return message


def test_what_stays_at_the_site_comes_in_first_values_and_is_never_asked_for(
    tmp_path: Path,
) -> None:
    _, coordinator, node = set_up(tmp_path / "a")
    coordinator.ask(fedbn_message())
    (answer,) = node.work(train_reply)
    assert views(arrays_of(answer)).keys() == {"float32", "int64"}
    asking = fedbn_message(**{"bn.weight": np.ones(2, np.float32)})
    assert "asks for what stays at clients with FedBN" in refused(tmp_path / "b", asking)


def test_a_reply_with_what_stays_at_the_site_does_not_leave(tmp_path: Path) -> None:
    def leaking(message: Message) -> Message:
        reply = train_reply(message)
        reply.content[LOCAL] = to_record({"float32": np.ones(4, np.float32)})
        return reply

    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(fedbn_message())
    assert "its records are not those declared" in reason(node.work(leaking)[0])


def test_a_message_carries_what_its_method_does_and_nothing_else(tmp_path: Path) -> None:
    controls = {"c/weight": np.zeros_like(WEIGHT)}

    def message(strategy: str) -> Message:
        asked = train_message(experiment=f'rounds = 3\nstrategy = "{strategy}"')
        for name, record in end_to_end({"weight": WEIGHT, **controls}).items():
            asked.content[name] = record
        return asked

    def answer_to(asked: Message) -> Message:
        reply = train_reply(asked)
        reply.content["arrays"] = end_to_end({"weight": WEIGHT, **controls})["arrays"]
        return reply

    _, coordinator, node = set_up(tmp_path / "a")
    coordinator.ask(message("scaffold"))
    (answer,) = node.work(answer_to)
    assert views(arrays_of(answer))["float32"].size == 2 * WEIGHT.size
    assert "sends what FedAvg does not carry" in refused(tmp_path / "b", message("fedavg"))
