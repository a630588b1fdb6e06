"""Each client's own heads: what is sent, and how the server counts the answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flwr.app import ArrayRecord, Message

from fl_client.local_heads import fit_heads_locally
from fl_server.client_evaluation import judge_client_heads
from strategies.arrays import to_record, views
from strategies.averaging import Averaging
from tests.fl_server.clients_in_memory import run_in_memory
from tests.support import (
    MemoryGrid,
    answer,
    first_weights,
    make_client,
    make_config,
    random_split,
    received_by,
)
from training.run_folder import RunFolder
from training.split import GlobalTestSet
from training.task import Task

pytestmark = pytest.mark.usefixtures("flower_task")


def test_clients_answer_for_features_that_the_server_sends(tmp_path: Path) -> None:
    """Ten test images; the second client cannot fit a head and is told of by its cause."""
    config = make_config(heads="svm,knn")
    client = make_client(tmp_path, config, num_train=30)
    split = random_split(10, seed=9)
    rows = pd.DataFrame({"image_id": [str(number) for number in range(10)]})
    test_data = GlobalTestSet(split, rows, ("a", "b", "c"), "", {})
    network = Task(config, 3).restore(first_weights())
    kinds: list[str] = []

    def fit(message: Message) -> Message:
        kinds.append(message.metadata.message_type)
        record = message.content["test"]
        assert isinstance(record, ArrayRecord)
        features = views(record)["features"]
        assert features.shape == (10, 256)
        found = fit_heads_locally(client, views(received_by(message)), features, {})
        assert found["num-examples"] == 30
        return answer(message, **found)

    def fail(_message: Message) -> None:
        return None

    strategy = Averaging(clients={5: "client-0", 2: "client-1"}, min_replies=2)
    grid = MemoryGrid({5: fit, 2: fail})
    weights = to_record(first_weights())
    settings = {"experiment": config.to_toml()}
    found = judge_client_heads(grid, strategy, weights, network, config, test_data, settings)
    assert kinds == ["query.heads"]
    assert list(found["client-0"]) == ["knn", "svm"]
    for block in found["client-0"].values():
        assert np.sum(block["confusion"]) == block["n"] == 10
    assert "no answer" in found["client-1"]["failed"]


@pytest.mark.usefixtures("flower_run")
@pytest.mark.parametrize(("strategy", "fitted"), [("fedper", True), ("fedbn", False)])
def test_heads_are_fitted_only_on_features_that_clients_share(
    synthetic_ham: Path, cache: Path, tmp_path: Path, strategy: str, *, fitted: bool
) -> None:
    """FedPer leaves the head at the clients, FedBN a part of what features are made of."""
    changes = {"rounds": 1, "client_heads": True, "heads": "knn", "test_dir": synthetic_ham}
    found = run_in_memory(synthetic_ham, cache, tmp_path, strategy=strategy, **changes)
    said = [note for note in RunFolder(tmp_path).manifest()["notes"] if "client-heads" in note]
    assert ("client_heads" in found) == fitted
    assert bool(said) != fitted
