"""Replies that the guard allows, and errors that it sends instead of others."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_object_tree

from fl_client.site import connection, policy
from fl_client.site.policy import Policy, write_policy
from fl_client.site.records import last_records
from operation.files import parse_toml
from strategies import expected_replies
from strategies.histograms import FIELDS
from tests.fl_client.site.fake_coordinator import (
    OPEN,
    WEIGHT,
    arrays_of,
    question,
    reason,
    set_up,
    train_message,
    train_reply,
)


def more_arrays(reply: Message) -> None:
    arrays_of(reply)["images"] = Array(WEIGHT)


def other_shape(reply: Message) -> None:
    arrays_of(reply)["float32"] = Array(WEIGHT)


def other_dtype(reply: Message) -> None:
    arrays_of(reply)["float32"] = Array(WEIGHT.ravel().astype(np.float64))


def fewer_arrays(reply: Message) -> None:
    del arrays_of(reply)["float32"]


def hidden_bytes(reply: Message) -> None:
    arrays_of(reply)["float32"].data += b"an image"


def another_file(reply: Message) -> None:
    """The array's head says what it should, and its data is something else as long."""
    array = arrays_of(reply)["float32"]
    array.data = b"7" * len(array.data)


def another_metric(reply: Message) -> None:
    reply.content.metric_records["metrics"]["patient-4711"] = 1


def a_list_for_a_number(reply: Message) -> None:
    reply.content.metric_records["metrics"]["train-loss"] = [0.5] * 1000


def another_record(reply: Message) -> None:
    reply.content["notes"] = ConfigRecord({"text": "4711" * 1000})


def too_few_examples(reply: Message) -> None:
    reply.content.metric_records["metrics"]["num-examples"] = 9


def another_group(reply: Message) -> None:
    reply.metadata.group_id = "4711" * 1000


def another_time(reply: Message) -> None:
    reply.metadata.created_at = 4711.0


CHEATS = [
    (more_arrays, "its arrays differ"),
    (other_shape, "its arrays differ"),
    (other_dtype, "its arrays differ"),
    (fewer_arrays, "its arrays differ"),
    (hidden_bytes, "an array's data does not match"),
    (another_file, "an array's data does not match"),
    (another_metric, "a key that is not declared"),
    (a_list_for_a_number, "its train-loss is not a number"),
    (another_record, "its records are not those declared"),
    (too_few_examples, "fewer than 10 images"),
    (another_group, "not a reply to what was asked"),
    (another_time, "not a reply to what was asked"),
]


@pytest.mark.parametrize("cheat, said", CHEATS, ids=[cheat.__name__ for cheat, _ in CHEATS])
def test_a_reply_that_does_not_keep_to_the_rules_stays_here(
    tmp_path: Path, cheat: Callable[[Message], None], said: str
) -> None:
    def app(message: Message) -> Message:
        reply = train_reply(message)
        cheat(reply)
        return reply

    site, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    coordinator.ask(train_message(round=2))
    answers = iter([app, train_reply])
    first, second = node.work(lambda message: next(answers)(message))
    assert said in reason(first)
    assert "4711" not in reason(first)  # what the app wrote does not leave in the refusal either
    assert second.has_content()  # and the site continues
    assert len(coordinator.pushed) == 1 + len(get_object_ids(second))
    events = [line["event"] for line in last_records(site.records)]
    assert events == ["in", "refused", "in", "out"]


def test_the_config_in_a_message_is_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the policy's check and for the form of the reply together."""
    parsed: list[str] = []

    def counted(text: str) -> dict[str, object]:
        parsed.append(text)
        return parse_toml(text)

    for module in (policy, expected_replies):
        monkeypatch.setattr(module, "parse_toml", counted)
    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    [reply] = node.work(train_reply)
    assert reply.has_content()
    assert parsed == [OPEN["experiment"]]


def test_histograms_leave_only_where_the_policy_allows_them(tmp_path: Path) -> None:
    """Read again for each reply; without them the reply is sent as before."""

    def without(message: Message) -> Message:
        reply = train_reply(message)
        metrics = reply.content.metric_records["metrics"]
        for name in FIELDS:
            del metrics[f"validation-{name}"]
        return reply

    site, coordinator, node = set_up(tmp_path)
    for number in (2, 3, 4):
        coordinator.ask(train_message(round=number))
    answers = iter([train_reply, train_reply, without])

    def app(message: Message) -> Message:
        reply = next(answers)(message)
        if message.content.config_records["config"]["round"] == 3:
            write_policy(site.policy, Policy(histograms=False))
        return reply

    allowed, refused, bare = node.work(app)
    assert allowed.has_content()
    assert "it has histograms, and its policy allows none" in reason(refused)
    assert bare.has_content()


def test_class_counts_leave_only_where_the_policy_allows_them(tmp_path: Path) -> None:
    """The app of an approved bundle sends them although the policy forbids it."""

    def introduce(message: Message) -> Message:
        about = {"name": "a", "classes": ["MEL", "NV"], "dataset": "ham10000"}
        client = {**about, "fingerprint": "0" * 64, "device": "cpu", "synthetic": False}
        numbers = {"num-train": 30, "num-validation": 20, "num-test": 20, "threads": 1}
        metrics = MetricRecord({**numbers, "class-counts": [10, 20]})
        content = RecordDict({"client": ConfigRecord(client), "metrics": metrics})
        if len(answered) == 1:
            write_policy(site.policy, Policy(class_counts=False))
        answered.append(message)
        return Message(content, reply_to=message)

    site, coordinator, node = set_up(tmp_path)
    answered: list[Message] = []
    for _ in range(2):
        asked = ConfigRecord({**OPEN, "experiment": 'class-counts = "federation"'})
        coordinator.ask(question("query", RecordDict({"config": asked})))
    allowed, refused = node.work(introduce)
    assert allowed.has_content()
    assert "it has counts of classes, and its policy allows none" in reason(refused)


@pytest.mark.parametrize("seconds", [-7200.0, -2.0, 2.0, 7200.0])
def test_a_clock_that_is_set_while_the_app_works_loses_no_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The message came by the old clock; the reply is stamped by the new one, as Flower does it.

    What is stamped by neither is still refused.
    """
    real = time.time

    def app(message: Message) -> Message:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)
        reply = train_reply(message)
        reply.metadata.created_at = message.metadata.created_at + seconds + 0.1
        reply.metadata.ttl = message.metadata.ttl - seconds - 0.1
        return reply

    def another(message: Message) -> Message:
        reply = app(message)
        reply.metadata.created_at += 2 * seconds
        reply.metadata.ttl -= 2 * seconds
        return reply

    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    *_, answer = node.work(app)
    assert answer.has_content()
    monkeypatch.setattr(time, "time", real)
    coordinator.ask(train_message(round=2))
    *_, answer = node.work(another)
    assert "not a reply to what was asked" in reason(answer)


def get_object_ids(message: Message) -> set[str]:
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

    return set(get_all_nested_objects(message))


def test_an_error_of_the_app_is_cut_to_its_last_line(tmp_path: Path) -> None:
    def app(message: Message) -> Message:
        error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "4711\n" * 9 + "\x1b[1mx" + "y" * 9999)
        return Message(error, reply_to=message)

    site, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    (answer,) = node.work(app)
    assert reason(answer) == " [1mx" + "y" * 294 + "…"
    assert [line["event"] for line in last_records(site.records)] == ["in", "error"]


def test_an_error_that_cannot_be_recorded_leaves_without_its_text(tmp_path: Path) -> None:
    def app(message: Message) -> Message:
        site.records.unlink()
        site.records.mkdir()
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "4711"), reply_to=message)

    site, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    assert reason(node.work(app)[0]).endswith("its records cannot be written")


def test_a_second_reply_to_one_message_stays_here(tmp_path: Path) -> None:
    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    kept: list[Message] = []

    def app(message: Message) -> Message:
        kept.append(message)
        return train_reply(message)

    node.work(app)
    before = len(coordinator.pushed)
    second = train_reply(kept[0])
    assert node.guard.send(second, get_object_tree(second), 0.0) == (set(), "")
    with pytest.raises(PermissionError):
        node.guard.push_object(1, "session", "e" * 64, b"4711")
    assert len(coordinator.pushed) == before


def test_an_object_hidden_in_the_tree_stays_here(tmp_path: Path) -> None:
    """No record names it, and Flower would send it anyway."""
    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())

    def app(message: Message) -> Message:
        reply = train_reply(message)
        hidden = question("query", RecordDict({"x": ConfigRecord({"x": "4711"})}))
        node.store.preregister(1, get_object_tree(hidden))
        node.store.put(hidden.object_id, hidden.deflate())
        for record in hidden.content.values():
            node.store.put(record.object_id, record.deflate())
        node.store.put(hidden.content.object_id, hidden.content.deflate())
        tree = get_object_tree(reply)
        tree.children.append(get_object_tree(hidden))
        reply.metadata.__dict__["_message_id"] = reply.object_id
        node.store.preregister(1, tree)
        return reply

    (answer,) = node.work(app)
    assert "its objects are not as Flower writes them" in reason(answer)


def test_a_reply_that_never_comes_whole_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.2)
    _, coordinator, node = set_up(tmp_path)
    coordinator.ask(train_message())
    message, _ = node.guard.receive()
    reply = train_reply(message)
    tree = get_object_tree(reply)
    node.store.preregister(1, tree)
    started = time.monotonic()
    node.guard.send(reply, tree, 0.0)
    assert time.monotonic() - started < 5
    coordinator.finish()
    assert "did not arrive completely" in reason(coordinator.answers[0])
