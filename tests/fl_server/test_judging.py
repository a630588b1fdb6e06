from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flwr.app import MetricRecord

from data_partition.image_store import ImageStore
from fl_client.local_training import evaluate_locally
from fl_server.judging import ask, figures, judge_globally
from strategies.arrays import to_record, views
from strategies.fedavg import FedAvg
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
from training.metrics import METRIC_NAMES, metric_block


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
    found = figures(replies, "test", 2)
    assert found["pooled"]["confusion"] == [[8, 0], [1, 1]]
    assert found["pooled"]["acc"] == pytest.approx(90.0, rel=1e-15)
    assert found["pooled"]["n"] == 10
    assert found["pooled"]["loss"] == pytest.approx(1.0, rel=1e-15)
    assert list(found["clients"]) == ["a", "b"]
    assert found["clients"]["a"] == {**metric_block(np.array([[8, 0], [0, 0]])), "loss": 0.5}
    assert found["clients"]["b"]["acc"] == 50.0


def test_a_client_without_images_adds_nothing() -> None:
    alone = figures(Replies([reply("a", [2, 1, 0, 1], 0.5)]), "test", 2)
    both = figures(Replies([reply("a", [2, 1, 0, 1], 0.5), reply("b", [0] * 4, 0.0)]), "test", 2)
    assert both["pooled"] == alone["pooled"]
    assert both["clients"]["b"]["avg"] is None


def test_nobody_with_images_has_no_figures() -> None:
    found = figures(Replies([reply("a", [0] * 4, 0.0)]), "test", 2)["pooled"]
    assert [found[name] for name in METRIC_NAMES] == [None] * 6
    assert (found["n"], found["loss"]) == (0, 0.0)


def test_only_accepted_replies_count() -> None:
    replies = Replies([reply("a", [1, 0, 0, 1], 0.5), reply("b", [0, 9, 9, 0], 9.0)])
    replies.refuse("b", "for a reason")
    assert figures(replies, "test", 2)["pooled"]["acc"] == 100.0
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

    strategy = FedAvg(clients={7: "client-0", 3: "client-1"})
    arrays = to_record(first_weights())
    grid = MemoryGrid({7: node, 3: node})
    replies = ask(grid, strategy, arrays, experiment="seed = 0", splits="validation,test")
    assert figures(replies, "validation", 3)["pooled"]["n"] == 10
    found = figures(replies, "test", 3)
    assert found["pooled"]["n"] == 12
    confusions = [np.array(found["clients"][f"client-{i}"]["confusion"]) for i in range(2)]
    assert (np.array(found["pooled"]["confusion"]) == sum(confusions)).all()


def test_the_servers_judgement_is_a_clients(tmp_path: Path) -> None:
    """On the same images the global test set's figures are those that a client would find."""
    client, weights = make_client(tmp_path), first_weights()
    split = random_split(6)
    store = ImageStore(split.images, pd.DataFrame(), split.labels, ("a", "b", "c"), "", {})
    found = judge_globally(client.config, weights, store, 3)
    expected = evaluate_locally(client, weights, {"splits": "test"})
    assert [*found.confusion.flat] == expected["test-confusion"]
    assert found.loss == expected["test-loss"]
    assert found.probabilities.shape == (6, 3)
