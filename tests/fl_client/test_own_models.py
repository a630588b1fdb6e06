"""A client's own model: trained beside the shared one, or fine-tuned before it is judged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.local_training import evaluate_locally, train_locally
from strategies.expected_replies import SHARED_TEST
from tests.support import assert_same_bits, first_weights, make_client, make_config, same_bits
from training.model_file import ModelFile
from training.weights import load_weights

Weights = dict[str, NDArray]
JUDGED = {"splits": f"validation,test,{SHARED_TEST}", "round": 2, "client-index": 0, "counted": 2}


def client_of(folder: Path, strategy: str, *, is_site: bool = False, **changes: Any) -> Client:
    return make_client(folder, make_config(strategy=strategy, **changes), is_site=is_site)


def two_rounds(client: Client) -> tuple[list[Weights], dict[str, Any]]:
    """What a client returns, with its own reply as the next global model; round two's metrics."""
    returned, received = [], first_weights()
    for number in (1, 2):
        settings = {"round": number, "client-index": 0, "counted": number - 1}
        trained, metrics = train_locally(client, received, settings)
        returned.append({name: array.copy() for name, array in trained.items()})
        received = {**received, **returned[-1]}
    return returned, metrics


def own_of(client: Client, round_number: int) -> Weights:
    return load_weights(client.folder / "local" / f"round-{round_number:05d}.safetensors")


@pytest.mark.parametrize("optimizer", ["fresh", "persistent"])
def test_ditto_without_a_pull_is_a_model_trained_alone(tmp_path: Path, optimizer: str) -> None:
    """And what it shares is what FedAvg shares; both to the bit, also with Adam's states."""
    keys = {"client_optimizer": optimizer, "optimizer": "adam"}
    ditto = client_of(tmp_path / "ditto", "ditto", ditto_lambda=0.0, **keys)
    alone = client_of(tmp_path / "alone", "local", **keys)
    returned, metrics = two_rounds(ditto)
    nothing, expected = two_rounds(alone)
    assert nothing == [{}, {}]
    assert_same_bits(own_of(ditto, 2), own_of(alone, 2))
    assert metrics["validation-loss"] == expected["validation-loss"]
    plain, _ = two_rounds(client_of(tmp_path / "plain", "fedavg", **keys))
    assert_same_bits(returned[1], plain[1])


def test_a_pull_moves_the_own_model_towards_what_was_received(tmp_path: Path) -> None:
    def distance(pull: float) -> float:
        client = client_of(tmp_path / str(pull), "ditto", ditto_lambda=pull, learning_rate=0.01)
        train_locally(client, first_weights(), {"round": 1, "client-index": 0})
        own, received = own_of(client, 1), first_weights()
        return float(np.linalg.norm(own["head.weight"] - received["head.weight"]))

    assert distance(20.0) < distance(0.0)


@pytest.mark.parametrize("strategy", ["fedbn", "fedper", "ditto"])
def test_the_own_model_is_judged_beside_the_shared_one_and_taken_home(
    tmp_path: Path, strategy: str
) -> None:
    client = client_of(tmp_path, strategy, is_site=True, ditto_lambda=5.0)
    returned, _ = two_rounds(client)
    received = {**first_weights(), **returned[-1]}
    found = evaluate_locally(client, received, {**JUDGED, "run": "0" * 32})
    kept = {**received, **own_of(client, 2)}
    plain = client_of(tmp_path / "plain", "fedavg")
    for name, weights in (("test", kept), (SHARED_TEST, received)):
        expected = evaluate_locally(plain, weights, {"splits": "test"})
        assert found[f"{name}-loss"] == expected["test-loss"]
        assert found[f"{name}-confusion"] == expected["test-confusion"]
    assert found["test-loss"] != found[f"{SHARED_TEST}-loss"]
    assert found["num-examples"] == 5 + 6 + 6
    assert_same_bits(ModelFile.load(client.folder / "model.safetensors").weights, kept)


@pytest.mark.parametrize("epochs", [0, 2])
def test_fine_tuning_is_the_training_of_the_round_that_would_follow(
    tmp_path: Path, epochs: int
) -> None:
    """Of as many epochs; the shared model and the validation are those of FedAvg."""
    keys = {"learning_rate": 0.01, "optimizer": "sgd"}
    client = client_of(tmp_path, "finetune", is_site=True, finetune_epochs=epochs, **keys)
    received = first_weights()
    found = evaluate_locally(client, received, {**JUDGED, "run": "0" * 32})
    plain = client_of(tmp_path / "plain", "fedavg", local_epochs=max(1, epochs), **keys)
    shared = evaluate_locally(plain, received, {"splits": "validation,test"})
    tuned = received
    if epochs:
        tuned, _ = train_locally(plain, received, {"round": 3, "client-index": 0})
    assert found["validation-loss"] == shared["validation-loss"]
    assert found[f"{SHARED_TEST}-loss"] == shared["test-loss"]
    assert found["test-loss"] == evaluate_locally(plain, tuned, {"splits": "test"})["test-loss"]
    assert_same_bits(ModelFile.load(client.folder / "model.safetensors").weights, tuned)
    assert same_bits(tuned, received) == (epochs == 0)
