"""The guard between Flower's own loop and a coordinator that is a Python object."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, pull_objects
from flwr.supercore.run import RunNotRunningException

from fl_client.site import guard
from fl_client.site.approved_bundles import Approvals
from fl_client.site.guard import Guard
from fl_client.site.policy import Policy, write_policy
from fl_client.site.records import last_records
from strategies.arrays import to_record, views
from strategies.exchange import LOCAL, LOCAL_LAYOUT
from strategies.layout import Layout
from tests.fl_client.site.fake_coordinator import (
    COUNTER,
    OPEN,
    RUN,
    WEIGHT,
    arrays_of,
    question,
    reason,
    set_up,
    train_message,
    train_reply,
)
from tests.support import end_to_end


def never(_message: Message) -> Message:
    raise AssertionError("the app must not see this message")


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


def refused(tmp_path: Path, message: Message, **coordinator: object) -> str:
    """Send a message that must not reach the app, and return why it did not."""
    site, asking, node = set_up(tmp_path, **coordinator)
    asking.ask(message)
    (answer,) = node.work(never)
    assert last_records(site.records)[-1]["event"] == "refused"
    assert asking.confirmed == [message.metadata.message_id]  # its arrays need not be kept
    return reason(answer)


def test_a_bundle_that_is_not_approved_never_runs_and_its_arrays_never_come(tmp_path: Path) -> None:
    _, coordinator, node = set_up(tmp_path)
    coordinator.run.fab_hash = "f" * 64
    coordinator.ask(train_message())
    (answer,) = node.work(never)
    assert reason(answer) == (
        "refused by hospital-a: bundle ffffffffffff is not approved at hospital-a: fedskin site "
        "approve"
    )
    assert coordinator.pulled == []


def test_a_bundle_that_is_withdrawn_runs_no_more(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    node.work(train_reply)
    Approvals(site.approved).withdraw(coordinator.run.fab_hash[:8])
    coordinator.ask(train_message(round=2))
    assert "is not approved" in reason(node.work(never)[-1])


def test_an_approved_file_that_was_changed_never_runs(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    file = site.approved / f"{coordinator.run.fab_hash}.fab"
    file.write_bytes(file.read_bytes() + b" ")
    coordinator.ask(train_message())
    assert "approved bundles is damaged" in reason(node.work(never)[0])


def test_refused_messages_bring_no_arrays(tmp_path: Path) -> None:
    _, coordinator, node = set_up(tmp_path)
    message = coordinator.ask(train_message(experiment="local-epochs = 6"))
    node.work(never)
    chunks = {
        chunk.object_id
        for array in get_object_tree(message).children[0].children[1].children
        for chunk in array.children
    }
    assert len(chunks) == 2
    assert not chunks & set(coordinator.pulled)


@pytest.mark.parametrize(
    "key", ["data-dir", "test-dir", "weights-dir", "cache-dir", "run-dir", "init-from"]
)
def test_no_message_names_a_path(tmp_path: Path, key: str) -> None:
    said = refused(tmp_path, train_message(experiment=f"{key} = '/etc'"))
    assert said.endswith(f"{key} is set, but the site takes every path from its own settings")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"experiment": "local-epochs = 6"}, "local-epochs = 6: its policy allows 5"),
        ({"experiment": "rounds = 0"}, "experiment: rounds = 0"),
        ({"experiment": "no-such-key = 1"}, "experiment: no-such-key = 1: no such key"),
        ({"experiment": "not TOML"}, "is not TOML"),
        ({"experiment": "a = " + "[" * 9999 + "]" * 9999}, "is not TOML"),
        ({"experiment": "image-size = 513"}, "image-size = 513: its policy allows 512"),
        ({"experiment": ""}, "contains no experiment"),
        ({"experiment": None}, "contains no experiment"),
        ({"run": "../../etc"}, "names no run"),
        ({"run": None}, "names no run"),
    ],
)
def test_settings_beyond_the_policy_are_refused_by_name(
    tmp_path: Path, settings: dict, said: str
) -> None:
    assert said in refused(tmp_path, train_message(**settings))


def test_images_that_the_cache_has_no_room_for_are_refused_by_name(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    write_policy(site.policy, Policy(max_cache_bytes=1000))
    store = site.cache / "images" / "key"
    store.mkdir(parents=True)
    np.save(store / "images.npy", np.zeros((1, 256, 256, 3), np.uint8))
    coordinator.ask(train_message())
    [answer] = node.work(never)
    assert "its policy allows max-cache-bytes = 1000" in reason(answer)


def test_the_run_config_is_held_to_the_same_policy(tmp_path: Path) -> None:
    said = refused(tmp_path, train_message(), override={"data-dir": "/etc"})
    assert "data-dir is set" in said


def test_a_run_config_that_the_bundle_does_not_know_is_refused(tmp_path: Path) -> None:
    """Flower's loop would end on it, and with it the SuperNode."""
    assert "'seed'" in refused(tmp_path, train_message(), override={"seed": 1})


def test_rounds_per_day_are_counted_over_restarts(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    write_policy(site.policy, Policy(max_rounds_per_day=1))
    coordinator.ask(train_message())
    assert node.work(train_reply)[0].has_content()
    node.guard = Guard(site, node.store, coordinator.connection())
    coordinator.ask(train_message(round=2))
    assert "allows 1 rounds in 24 hours" in reason(node.work(never)[-1])


def test_a_damaged_policy_lets_nothing_in(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    site.policy.write_text("max-local-epochs = 'many'")
    coordinator.ask(train_message())
    assert reason(node.work(never)[0]).endswith("its policy.toml is damaged")
    assert "max-local-epochs" in last_records(site.records)[0]["reason"]


def test_what_cannot_be_recorded_does_not_happen(tmp_path: Path) -> None:
    site, coordinator, node = set_up(tmp_path)
    site.records.mkdir()  # a file that cannot be written, to root neither
    coordinator.ask(train_message())
    assert reason(node.work(never)[0]).endswith("its records cannot be written")


@pytest.mark.parametrize(
    "kind, content, said",
    [
        ("query.shell", RecordDict({"config": ConfigRecord(OPEN)}), "not known here"),
        ("train", RecordDict({"metrics": MetricRecord({"a": 1})}), "not a config and arrays"),
        (
            "query",
            RecordDict({"config": ConfigRecord(OPEN), "arrays": to_record({"a": WEIGHT})}),
            "contains no arrays 'arrays'",
        ),
    ],
)
def test_messages_of_another_form_are_refused(
    tmp_path: Path, kind: str, content: RecordDict, said: str
) -> None:
    assert said in refused(tmp_path, question(kind, content))


def test_an_envelope_that_says_something_else_than_the_message_is_refused(tmp_path: Path) -> None:
    """The app reads the object, so that is what counts; a "query" must not train."""
    _, coordinator, node = set_up(tmp_path)
    asked = coordinator.ask(train_message())
    asked.metadata.message_type = "query"
    assert "does not match its objects" in reason(node.work(never)[0])


def test_bytes_that_are_not_those_of_their_id_never_reach_the_app(tmp_path: Path) -> None:
    """Not the app's fault nor the site's will: the answer says that the message was lost."""
    _, coordinator, node = set_up(tmp_path)
    asked = coordinator.ask(train_message())
    chunk = get_object_tree(asked).children[0].children[1].children[0].children[0].object_id
    content = coordinator.objects[chunk]
    coordinator.objects[chunk] = content[:-1] + b"!"
    (answer,) = node.work(never)
    assert answer.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert "did not arrive completely" in str(answer.error.reason)


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
