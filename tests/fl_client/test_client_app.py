"""The ClientApp's replies to messages, what it stores, and what it frees."""

import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict

import fl_client.client_setup
import training.task
from fl_client.client import Client
from fl_client.client_app import app, end_with_the_machine
from tests.support import assert_same_bits, end_to_end, first_weights, make_client, make_config
from training.model_file import ModelFile

pytestmark = pytest.mark.usefixtures("flower_task")

RUN = "0" * 32


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Whom every message is for: a site with 12, 5 and 6 images."""
    made = make_client(tmp_path, make_config(), is_site=True)
    monkeypatch.setattr(fl_client.client_setup, "open_client", lambda *_arguments: made)
    return made


def message_of(kind: str, **settings: Any) -> Message:
    config = ConfigRecord({"run": RUN, "client-index": 0, **settings})
    content = RecordDict({"config": config, **end_to_end(first_weights())})
    message = Message(content, 1, kind)
    message.metadata.__dict__["_message_id"] = "1"
    return message


def ask(message: Message) -> RecordDict:
    return app(message, Context(1, 1, {}, RecordDict(), {})).content


@pytest.mark.usefixtures("client")
def test_an_introduction_says_nothing_of_single_images() -> None:
    content = ask(message_of(MessageType.QUERY))
    assert {name: dict(record) for name, record in content.items()} == {
        "client": {
            "name": "client-0",
            "classes": ["a", "b", "c"],
            "dataset": "ham10000",
            "fingerprint": "",
            "device": "cpu",
            "synthetic": False,
        },
        "metrics": {"num-train": 12, "num-validation": 5, "num-test": 6, "threads": 1},
    }


def test_an_introduction_counts_classes_if_the_run_asks_and_the_policy_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_client(tmp_path, make_config(class_counts="federation"))
    for client, counts in (
        (made, made.splits["train"].class_counts(3).tolist()),
        (replace(made, sends_class_counts=False), None),
        (replace(made, config=make_config()), None),
    ):
        monkeypatch.setattr(
            fl_client.client_setup, "open_client", lambda *_arguments, client=client: client
        )
        numbers = ask(message_of(MessageType.QUERY))["metrics"]
        assert numbers.get("class-counts") == counts
    assert sum(made.splits["train"].class_counts(3)) == 12


@pytest.mark.parametrize(
    "method, held_on",
    [
        ({}, False),
        ({"strategy": "fedprox", "proximal_mu": 0.0}, False),
        ({"strategy": "fedprox", "proximal_mu": 0.1}, True),
    ],
)
def test_received_weights_are_let_go_while_training_unless_the_method_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any], held_on: bool
) -> None:
    """Who holds the message's bytes, besides this test's own name and the count's argument?"""
    made = make_client(tmp_path, make_config(**method))
    monkeypatch.setattr(fl_client.client_setup, "open_client", lambda *_arguments: made)
    message = message_of(MessageType.TRAIN, round=1)
    record = message.content["arrays"]
    assert isinstance(record, ArrayRecord)
    data = record["float32"].data
    del record
    held = []
    train_epoch = training.task.train_epoch

    def spy(*arguments: Any, **options: Any) -> float:
        held.append(sys.getrefcount(data) - 2)
        return train_epoch(*arguments, **options)

    monkeypatch.setattr(training.task, "train_epoch", spy)
    content = ask(message)
    assert [count > 0 for count in held] == [held_on]
    assert set(content) == {"arrays", "metrics"}


def test_a_site_keeps_the_model_that_it_judged_last(client: Client) -> None:
    for round_number in (5, 3):
        content = ask(message_of(MessageType.EVALUATE, splits="test", round=round_number))
    assert set(content) == {"metrics"}
    kept = ModelFile.load(client.folder / "model.safetensors")
    assert_same_bits(kept.weights, first_weights())
    assert (kept.round, kept.run, kept.classes) == (3, RUN, ("a", "b", "c"))


def test_a_simulated_client_keeps_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_client(tmp_path)
    monkeypatch.setattr(fl_client.client_setup, "open_client", lambda *_arguments: made)
    ask(message_of(MessageType.EVALUATE, splits="test", round=1))
    assert [path.name for path in made.folder.iterdir()] == ["predictions-test.csv"]


def too_little_memory() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    return caught.value


def fail_with(error: Exception, node_config: dict[str, Any]) -> None:
    """Answer a message by an error; in a process of its own, which may end."""

    def answer(_message: Message, _context: Context) -> Message:
        raise error

    context = Context(1, 1, node_config, RecordDict(), {})
    with pytest.raises(type(error)):
        end_with_the_machine(Message(RecordDict(), 1, MessageType.TRAIN), context, answer)


MACHINES = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), too_little_memory()]


@pytest.mark.parametrize(
    "error, where, status",
    [
        *((error, {}, 1) for error in MACHINES),
        *((error, {"site": "here"}, 0) for error in MACHINES),
        (ValueError("of this client"), {}, 0),
    ],
)
def test_a_simulation_ends_with_its_machine_and_a_round_goes_on_without_a_client(
    error: Exception, where: dict[str, Any], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 1: the process has ended, which the server sees; 0: the error is a reply."""
    process = multiprocessing.get_context("fork").Process(target=fail_with, args=(error, where))
    process.start()
    process.join()
    assert process.exitcode == status
    assert (type(error).__name__ in capfd.readouterr().err) == bool(status)
