"""The arrays that stay at a client: its own in place of the run's first ones, by round."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.local_training import train_locally
from fl_client.method_half import keep_own, with_own
from tests.support import (
    assert_same_bits,
    first_weights,
    make_client,
    make_config,
    same_bits,
)

Weights = dict[str, NDArray]
# BatchNorm's of `BACKBONE`: 13 layers of five arrays.
STAYING = 13 * 5


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return make_client(tmp_path, make_config(strategy="fedbn"))


def own(value: float) -> Weights:
    return {"bn.running_mean": np.full(2, value, np.float32), "bn.weight": np.ones(2, np.float32)}


MODEL: Weights = {"w": np.zeros(3, np.float32), **own(0.0)}


def keep(client: Client, *rounds: int, best: int = 0) -> None:
    for number in rounds:
        settings = {"round": number, "best-round": best}
        assert keep_own(client, {**MODEL, **own(number)}, settings).keys() == {"w"}


def found(client: Client, *, before: int, **settings: Any) -> float:
    arrays = with_own(client, MODEL, settings, before=before)
    assert arrays["w"] is MODEL["w"]
    return float(arrays["bn.running_mean"][0])


def test_at_first_they_are_the_runs() -> None:
    client = make_client(Path("nowhere"), make_config(strategy="fedbn"))
    assert_same_bits(with_own(client, MODEL, {}, before=1), MODEL)


def test_they_are_those_of_the_round_before(client: Client) -> None:
    keep(client, 1, 2, 4)
    assert [found(client, before=number) for number in (1, 2, 3, 4, 5, 9)] == [0, 1, 2, 2, 4, 4]


def test_the_newest_three_and_the_best_rounds_are_kept(client: Client) -> None:
    keep(client, 1, 2, 3)
    keep(client, 4, 5, 6, 7, best=2)
    assert [found(client, before=number) for number in (3, 5, 8)] == [2, 2, 7]
    keep(client, 8, best=6)
    assert [found(client, before=number) for number in (3, 7, 9)] == [0, 6, 8]


def test_a_round_that_did_not_count_is_forgotten(client: Client) -> None:
    """Its reply came too late; and so it is not taken later either, when older rounds are asked for
    again after a kill.
    """
    keep(client, 1, 2, 3)
    assert found(client, before=4, counted=1) == 1
    assert found(client, before=4, counted=3) == 1
    keep(client, 4)
    assert found(client, before=3, counted=2) == 1
    assert found(client, before=5, counted=4) == 4


def test_a_method_that_keeps_nothing_at_clients_writes_nothing(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    assert_same_bits(keep_own(client, MODEL, {"round": 1}), MODEL)
    assert not client.folder.exists()


def test_training_begins_with_them_and_does_not_send_them(client: Client) -> None:
    """And validates with them: with those of another client the figures are others."""
    received = first_weights()
    one, _ = train_locally(client, received, {"round": 1, "client-index": 0})
    assert len(received) - len(one) == STAYING
    shared = {**received, **{name: array.copy() for name, array in one.items()}}
    two, figures = train_locally(client, shared, {"round": 2, "client-index": 0, "counted": 1})
    two = {name: array.copy() for name, array in two.items()}
    again, same = train_locally(client, shared, {"round": 2, "client-index": 0, "counted": 1})
    assert_same_bits(two, again)
    assert figures["validation-loss"] == same["validation-loss"]
    fresh, others = train_locally(client, shared, {"round": 2, "client-index": 0, "counted": 0})
    assert not same_bits(two, fresh)
    assert figures["validation-loss"] != others["validation-loss"]
