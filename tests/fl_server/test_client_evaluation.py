from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flwr.app import MetricRecord

from fl_client.local_training import evaluate_locally
from fl_server.client_evaluation import client_metrics, histograms_of
from strategies.arrays import to_record, views
from strategies.averaging import Averaging
from strategies.replies import Replies, Reply
from tests.support import (
    MemoryGrid,
    answer,
    first_weights,
    make_client,
    random_split,
    received_by,
    settings_of,
)
from training.evaluation import evaluate_on_test_set
from training.metrics import METRIC_NAMES
from training.run_folder import RunFolder
from training.score_counts import Histograms, ScoreCounts
from training.scores import SCORES, score_block
from training.split import GlobalTestSet
from training.task import Task


def reply(client: str, confusion: list[int], loss: float, split: str = "test") -> Reply:
    metrics = MetricRecord(
        {
            "num-examples": sum(confusion),
            f"{split}-confusion": confusion,
            f"{split}-loss": loss,
            f"{split}-examples": sum(confusion),
        }
    )
    return Reply(client, {}, metrics, 0)


def test_figures_are_pooled_from_summed_counts() -> None:
    """8 of 8 right and 1 of 2: 9 of 10, not (100 % + 50 %)/2; loss (8·0.5 + 2·3)/10 = 1."""
    replies = Replies([reply("a", [8, 0, 0, 0], 0.5), reply("b", [0, 0, 1, 1], 3.0)])
    found = client_metrics(replies, "test", 2)
    assert found["pooled"]["confusion"] == [[8, 0], [1, 1]]
    assert found["pooled"]["acc"] == pytest.approx(90.0, rel=1e-15)
    assert found["pooled"]["n"] == 10
    assert found["pooled"]["loss"] == pytest.approx(1.0, rel=1e-15)
    assert list(found["clients"]) == ["a", "b"]
    counts = ScoreCounts(np.array([[8, 0], [0, 0]]))
    assert found["clients"]["a"] == {**score_block(counts), "loss": 0.5}
    assert found["clients"]["b"]["acc"] == 50.0


def test_a_client_without_images_adds_nothing() -> None:
    alone = client_metrics(Replies([reply("a", [2, 1, 0, 1], 0.5)]), "test", 2)
    both = client_metrics(
        Replies([reply("a", [2, 1, 0, 1], 0.5), reply("b", [0] * 4, 0.0)]), "test", 2
    )
    assert both["pooled"] == alone["pooled"]
    assert both["clients"]["b"]["avg"] is None


def test_nobody_with_images_has_no_figures() -> None:
    found = client_metrics(Replies([reply("a", [0] * 4, 0.0)]), "test", 2)["pooled"]
    assert [found[name] for name in METRIC_NAMES] == [None] * 6
    assert (found["n"], found["loss"]) == (0, 0.0)


def test_only_accepted_replies_count() -> None:
    replies = Replies([reply("a", [1, 0, 0, 1], 0.5)], {"b": "for a reason"})
    pooled = client_metrics(replies, "test", 2)["pooled"]
    assert pooled["acc"] == 100.0
    assert pooled["missing"] == {"b": "for a reason"}
    assert replies.failures == {"b": "for a reason"}


@pytest.mark.usefixtures("flower_task")
def test_clients_judge_and_the_server_sums(tmp_path: Path) -> None:
    """Two clients with five and five validation, six and six test images."""
    clients = [make_client(tmp_path, index=index) for index in range(2)]

    def node(message):  # type: ignore[no-untyped-def]
        settings = settings_of(message)
        assert settings["experiment"] == "seed = 0"
        weights = views(received_by(message))
        metrics = evaluate_locally(clients[int(settings["client-index"])], weights, settings)
        return answer(message, **metrics)

    strategy = Averaging(clients={7: "client-0", 3: "client-1"})
    arrays = to_record(first_weights())
    grid = MemoryGrid({7: node, 3: node})
    settings = {"experiment": "seed = 0", "splits": "validation,test", "round": 3}
    messages = strategy.evaluation_messages(arrays, settings)
    replies = strategy.read_evaluation(grid.send_and_receive(messages, timeout=5.0))
    assert client_metrics(replies, "validation", 3)["pooled"]["n"] == 10
    found = client_metrics(replies, "test", 3)
    assert found["pooled"]["n"] == 12
    confusions = [np.array(found["clients"][f"client-{i}"]["confusion"]) for i in range(2)]
    assert (np.array(found["pooled"]["confusion"]) == sum(confusions)).all()


def test_the_servers_judgement_is_a_clients(tmp_path: Path) -> None:
    """On the same images the global test set's figures are those that a client would find."""
    client, weights = make_client(tmp_path), first_weights()
    split = random_split(6)
    rows = pd.DataFrame({"image_id": list("abcdef"), "label": "x", "lesion_id": None})
    test_data = GlobalTestSet(split, rows, ("x", "y", "z"), "", {})
    task = Task(client.config, 3)
    found = evaluate_on_test_set(task, weights, test_data, RunFolder(tmp_path), "global_test")
    expected = evaluate_locally(client, weights, {"splits": "test"})
    assert np.ravel(found["confusion"]).tolist() == expected["test-confusion"]
    assert found["loss"] == expected["test-loss"]
    predictions = pd.read_csv(tmp_path / "predictions-global_test.csv")
    assert predictions["image_id"].tolist() == list("abcdef")


@pytest.mark.usefixtures("flower_task")
def test_clients_that_may_not_send_histograms_are_named(tmp_path: Path) -> None:
    """The scores that need them are of the others' images; all other figures are of everybody."""
    open_minded, reticent = (make_client(tmp_path, index=index) for index in range(2))
    clients = [open_minded, replace(reticent, histograms=False)]
    replies = Replies()
    for client in clients:
        metrics = evaluate_locally(client, first_weights(), {"splits": "test"})
        replies.accepted.append(Reply(client.name, {}, MetricRecord(metrics), 0))
    found = client_metrics(replies, "test", 3)
    pooled, alone, silent = found["pooled"], *found["clients"].values()
    assert pooled["no_histograms"] == {"client-1": "sends no histograms"}
    assert pooled["n"] == 12
    for name, score in SCORES.items():
        if score.needs == "histograms":
            assert pooled[name] == alone[name]
            assert silent[name] is None
    # What the run folder keeps gives the same figures.
    kept = histograms_of(replies, "test")
    assert kept.keys() == {"client-0"}
    confusion = np.array(alone["confusion"])
    counts = ScoreCounts(confusion, Histograms.of_fields(kept["client-0"], 3))
    assert {**score_block(counts), "loss": alone["loss"]} == alone


def test_patients_are_pooled_over_the_clients_that_send_them() -> None:
    """6 and 4 slices, 2 and 1 patients; a client that sends no patients drops nobody else's."""

    def with_patients(client: str, images: list[int], patients: list[int] | None) -> Reply:
        found = reply(client, images, 0.5)
        if patients is not None:
            found.metrics["test-patient-confusion"] = patients
        return found

    known = [
        with_patients("a", [3, 1, 0, 2], [1, 0, 0, 1]),
        with_patients("b", [0, 4, 0, 0], [0, 1, 0, 0]),
    ]
    found = client_metrics(Replies(known), "test", 2)
    assert found["pooled"]["patients"]["confusion"] == [[1, 1], [0, 1]]
    assert found["pooled"]["patients"]["missing"] == {}
    assert found["pooled"]["n"] == 10
    assert found["clients"]["b"]["patients"]["acc"] == 0.0
    unknown = with_patients("c", [1, 0, 0, 0], None)
    found = client_metrics(Replies([*known, unknown], {"d": "its process died"}), "test", 2)
    patients = found["pooled"]["patients"]
    assert patients["confusion"] == [[1, 1], [0, 1]]
    assert patients["missing"] == {"d": "its process died", "c": "sends no counts of patients"}
    assert found["pooled"]["missing"] == {"d": "its process died"}
    assert found["pooled"]["n"] == 11
    assert "patients" not in found["clients"]["c"]
    found = client_metrics(Replies([unknown]), "test", 2)
    assert "patients" not in found["pooled"], "nobody knows any"
