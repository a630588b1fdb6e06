"""A method's half at a client: its hooks, and the state that it keeps from round to round."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fl_client.client import Client
from fl_client.local_training import train_locally
from strategies.method import ClientHalf, LocalTraining, Method, carried_name
from strategies.methods import DEFAULT, METHODS, OWN
from tests.support import assert_same_bits, first_weights, make_client, make_config, same_bits
from training.round_files import KEPT

Weights = dict[str, NDArray]
# Twelve training images in batches of eight: 8 + 4.
STEPS = 2


class Drift(ClientHalf):
    """Adds a little of how far this client has moved in all rounds to the gradients.

    What it does depends on the received weights, on every step, and on its state.
    """

    def __init__(self, training: LocalTraining) -> None:
        self.training, self.start, self.steps = training, training.received(), 0

    def before_step(self) -> None:
        self.steps += 1
        for name, parameter in self.training.trained.items():
            if name in self.training.state and parameter.grad is not None:
                parameter.grad += 0.1 * self.training.state[name]

    def after_training(self) -> None:
        assert self.steps == STEPS
        for (name, parameter), start in zip(self.training.trained.items(), self.start, strict=True):
            moved = (parameter - start).detach()
            self.training.state[name] = self.training.state.get(name, torch.zeros(())) + moved
        with pytest.raises(AssertionError, match="only there before training"):
            self.training.received()


@pytest.fixture(autouse=True)
def drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method of the default config has this client's half for the test."""
    method = Method("Drift", "Nobody et al., Nothing, 2020", "none", client_half=Drift)
    monkeypatch.setitem(OWN, DEFAULT, method)


def settings(round_number: int) -> dict[str, Any]:
    return {"round": round_number, "client-index": 0}


def train(client: Client, received: Weights, round_number: int) -> Weights:
    trained, _ = train_locally(client, received, settings(round_number))
    return {name: array.copy() for name, array in trained.items()}


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.client_half])
def test_a_clients_state_is_as_large_as_declared(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every array that is carried comes back, with every number that is declared."""
    monkeypatch.undo()
    method, received = METHODS[name], first_weights()
    client = make_client(tmp_path, make_config(strategy=name))
    trained = [n for n in received if n.rpartition(".")[2] in ("weight", "bias")]
    carried = {carried_name(k, n): received[n] * 0 for k in method.carried for n in trained}
    found, metrics = train_locally(client, {**received, **carried}, settings(1))
    assert found.keys() == received.keys() | carried.keys()
    for array in carried:
        assert (found[array].dtype, found[array].shape) == (
            carried[array].dtype,
            carried[array].shape,
        )
        assert found[array].any()
    for key, kind in method.scalars.items():
        assert kind(client.config.to_flat(), 12).admits(metrics[key])
    files = list((client.folder / "method").glob("*"))
    kept = load_file(files[0]) if files else {}
    size = sum(received[n].nbytes for n in trained)
    assert sum(array.nbytes for array in kept.values()) == method.client_state * size


def test_a_round_that_did_not_count_is_forgotten(tmp_path: Path) -> None:
    """Round three then begins from the state of round one."""
    client, received = make_client(tmp_path), first_weights()
    train(client, received, 1)
    train(client, received, 2)
    train_locally(client, received, {**settings(3), "counted": 1})
    assert rounds_kept(client) == [1, 3]


def rounds_kept(client: Client) -> list[int]:
    return sorted(int(path.stem[-5:]) for path in (client.folder / "method").iterdir())


def test_the_state_is_there_again_in_the_next_round(tmp_path: Path) -> None:
    """Training of round two depends on it: without it the weights are others."""
    received = first_weights()
    client, fresh = make_client(tmp_path / "a"), make_client(tmp_path / "b")
    one = train(client, received, 1)
    assert not same_bits(train(client, one, 2), train(fresh, one, 2))
    assert (rounds_kept(client), rounds_kept(fresh)) == ([1, 2], [2])


def test_a_round_that_is_asked_for_again_is_the_same(tmp_path: Path) -> None:
    """After a kill the server may be two rounds behind this client."""
    client, weights = make_client(tmp_path), [first_weights()]
    for number in (1, 2, 3):
        weights.append(train(client, weights[-1], number))
    assert_same_bits(train(client, weights[1], 2), weights[2])
    assert_same_bits(train(client, weights[2], 3), weights[3])


def test_the_newest_three_states_are_kept(tmp_path: Path) -> None:
    client, weights = make_client(tmp_path), first_weights()
    for number in (1, 2, 3, 5):
        train(client, weights, number)
    assert rounds_kept(client) == [2, 3, 5]
    assert KEPT == 3


def test_a_method_without_a_state_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Method("Plain", "Nobody et al., Nothing, 2020", "none", client_half=lambda _: None)
    client, received = make_client(tmp_path), first_weights()
    monkeypatch.setitem(OWN, DEFAULT, plain)
    found = train(client, received, 1)
    assert not client.folder.exists()
    nothing = Method("Plain", "Nobody et al., Nothing, 2020", "none")
    monkeypatch.setitem(OWN, DEFAULT, nothing)
    assert_same_bits(train(client, received, 1), found)
    assert np.isfinite(found["head.bias"]).all()
