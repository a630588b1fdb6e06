"""The mathematical limits of federated averaging, for the real computations of clients and server.

Only Flower's transport is left out: messages go from the strategy to `train_locally` and back.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from numpy.typing import NDArray
from torch import nn

import training.task
from fl_client.client import Client
from fl_client.local_training import train_locally
from models.backbones import Backbone, build_empty
from models.registry import find_backbone
from strategies.arrays import to_record, views
from strategies.averaging import Averaging
from tests.support import (
    BACKBONE,
    STORED_SIDE,
    MemoryGrid,
    answer,
    assert_same_bits,
    first_weights,
    make_client,
    make_config,
    plain_split,
    received_by,
    rows_of,
    settings_of,
    state_of,
)
from training import optimizers
from training.config import ExperimentConfig
from training.epoch import train_epoch
from training.inference import Preprocessing
from training.randomness import derive_seed, layer_randomness

pytestmark = pytest.mark.usefixtures("flower_task")

Weights = dict[str, NDArray]


def federate(clients: Sequence[Client], start: Weights, *, rounds: int, **settings: Any) -> Weights:
    """The global weights after some rounds under Flower's own loop."""

    def node(message: Message) -> Message:
        told = settings_of(message)
        client = clients[int(told["client-index"])]
        weights, metrics = train_locally(client, views(received_by(message)), told)
        return answer(message, weights, **metrics)

    names = {10 - index: client.name for index, client in enumerate(clients)}
    strategy = Averaging(clients=names, **settings)
    grid = MemoryGrid(dict.fromkeys(names, node))
    return views(strategy.start(grid, to_record(start), num_rounds=rounds).arrays)


def smooth_network() -> Backbone:
    """One that has no BatchNorm, whose statistics of a shard are not those of the union."""
    features = 3 * 32 * 32
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(features, 8), nn.Tanh())
    return Backbone(trunk, nn.Linear(8, 3))


@pytest.fixture
def smooth_start(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """First weights of that network, which clients then train instead of a backbone."""
    monkeypatch.setattr(training.task, "build_empty", lambda *_args, **_options: smooth_network())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return state_of(smooth_network())


def shard(folder: Path, rows: range, config: ExperimentConfig | None = None) -> Client:
    """A client with some of twelve images that no crop and no flip changes.

    Each of its epochs is one step on all its images, with the study's weight decay.
    """
    whole = plain_split(range(0, 240, 20), [0, 1, 2, 2, 1, 0, 0, 0, 1, 2, 1, 2], side=STORED_SIDE)
    config = config or make_config(batch_size=12, learning_rate=0.05)
    split = type(whole)(whole.images, whole.labels, np.array(rows))
    empty = type(whole)(whole.images, whole.labels, np.arange(0))
    splits = {"train": split, "validation": empty, "test": empty}
    classes = ("a", "b", "c")
    return Client(f"client-{rows.start}", config, splits, classes, folder, rows_of(12))


def assert_close(found: Weights, expected: Weights, start: Weights) -> None:
    """Equal except for float32's rounding, by a bound that the step exceeds a hundred times.

    Weights are below 1 in size. Each passes fewer than eight roundings of half an ulp, 2^-24 of 1:
    in two rounds two steps, a sum of three and a quotient each. What the gradients' own
    roundings add is smaller by the learning rate and well inside the same bound again.
    """
    bound = 2 * 8 * 2.0**-24
    for name, array in found.items():
        assert np.abs(array).max() < 1
        assert np.abs(array - expected[name]).max() <= bound, name
        assert np.abs(expected[name] - start[name]).max() > 100 * bound, name


ALL = range(12)
EQUAL = (range(0, 4), range(4, 8), range(8, 12))
UNEQUAL = (range(0, 2), range(2, 5), range(5, 12))


@pytest.mark.parametrize("rounds", [1, 2])
def test_equal_shards_and_one_step_each_are_centralized_sgd(
    tmp_path: Path, smooth_start: Weights, rounds: int
) -> None:
    """(1/M) Σ (w − η∇L_i(w)) = w − η∇L(w), as L = (1/M) Σ L_i for shards of one size."""
    federated = federate([shard(tmp_path, rows) for rows in EQUAL], smooth_start, rounds=rounds)
    central = federate([shard(tmp_path, ALL)], smooth_start, rounds=rounds)
    assert_close(federated, central, smooth_start)


def test_shards_of_any_size_are_too_when_weighted_by_examples(
    tmp_path: Path, smooth_start: Weights
) -> None:
    """L = Σ (n_i/n) L_i. With equal weights the small shards' images would count for more."""
    clients = [shard(tmp_path, rows) for rows in UNEQUAL]
    central = federate([shard(tmp_path, ALL)], smooth_start, rounds=2)
    weighted = federate(clients, smooth_start, rounds=2, aggregation_weights="examples")
    assert_close(weighted, central, smooth_start)
    with pytest.raises(AssertionError):
        assert_close(federate(clients, smooth_start, rounds=2), central, smooth_start)


def test_the_limit_holds_for_one_step_only(tmp_path: Path, smooth_start: Weights) -> None:
    """After a second local step the clients' gradients are taken at different weights."""
    config = make_config(batch_size=12, learning_rate=0.05, local_epochs=4)
    clients = [shard(tmp_path, rows, config) for rows in EQUAL]
    central = federate([shard(tmp_path, ALL, config)], smooth_start, rounds=1)
    with pytest.raises(AssertionError):
        assert_close(federate(clients, smooth_start, rounds=1), central, smooth_start)


def test_clients_of_the_same_images_are_one_client(tmp_path: Path, smooth_start: Weights) -> None:
    """But for rounding: client 1 shuffles its one batch otherwise, and its sums feel that."""
    pair = federate([shard(tmp_path, ALL)] * 2, smooth_start, rounds=1)
    alone = federate([shard(tmp_path, ALL)], smooth_start, rounds=1)
    assert_close(pair, alone, smooth_start)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_client_is_plain_training_to_the_bit(tmp_path: Path, optimizer: str) -> None:
    """BatchNorm and integer counters included: a loop with no federation about it."""
    config = make_config(optimizer=optimizer)
    client, start = make_client(tmp_path, config), first_weights()
    federated = federate([client], start, rounds=2)

    model = build_empty(BACKBONE, 3, image_size=32)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in start.items()})
    spec = find_backbone(BACKBONE)
    for round_number in (1, 2):
        seeds = {
            purpose: derive_seed(
                config.seed, round_number=round_number, client_index=0, purpose=purpose
            )
            for purpose in ("batches", "layers")
        }
        with layer_randomness(seeds["layers"], torch.device("cpu")):
            train_epoch(
                model,
                client.splits["train"],
                optimizers.build_optimizer(config.to_flat(), model.parameters()),
                batch_size=config.batch_size,
                preprocessing=Preprocessing(32, spec.mean, spec.std),
                generator=torch.Generator().manual_seed(seeds["batches"]),
            )
    assert_same_bits(federated, state_of(model))


def test_fedprox_pulls_the_mean_towards_where_the_round_began(
    tmp_path: Path, smooth_start: Weights
) -> None:
    """Full-batch steps on equal images, so that μ is all that differs."""

    def moved(mu: float) -> float:
        method = {"strategy": "fedprox", "proximal_mu": mu}
        config = make_config(batch_size=12, learning_rate=0.05, local_epochs=8, **method)
        clients = [shard(tmp_path, rows, config) for rows in EQUAL]
        found = federate(clients, smooth_start, rounds=1)
        return float(sum(np.square(a - smooth_start[name]).sum() for name, a in found.items()))

    assert moved(0.0) > moved(1.0) > moved(10.0) > 0
