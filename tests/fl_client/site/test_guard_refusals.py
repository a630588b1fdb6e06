"""Messages that a site's guard refuses: none reaches the app."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_object_tree

from fl_client.site.approved_bundles import Approvals
from fl_client.site.guard import Guard
from fl_client.site.policy import Policy, write_policy
from fl_client.site.records import last_records
from strategies.arrays import to_record
from tests.fl_client.site.fake_coordinator import (
    OPEN,
    WEIGHT,
    never,
    question,
    reason,
    refused,
    set_up,
    train_message,
    train_reply,
)


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
