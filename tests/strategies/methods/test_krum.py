"""Krum's choice among equals, which rounding must not make."""

import numpy as np
import pytest
from flwr.app import RecordDict
from numpy.typing import NDArray

from strategies.arrays import to_record
from strategies.methods.bulyan import by_krum
from strategies.methods.krum import distances_of, lowest

LONG = 5_000  # Flower's distances of short arrays are rounded alike in both directions


def drawn(seed: int, clients: int) -> tuple[list[NDArray], list[RecordDict]]:
    models = list(np.random.default_rng(seed).normal(size=(clients, LONG)))
    return models, [RecordDict({"arrays": to_record({"w": model})}) for model in models]


def nearest(models: list[NDArray]) -> list[float]:
    """Of each model the squared distance to its nearest, which is the same in both directions."""
    return [
        min(float(((one - other) ** 2).sum()) for other in models if other is not one)
        for one in models
    ]


@pytest.mark.parametrize("seed", range(40))
def test_of_three_clients_the_two_nearest_are_equal_and_the_first_is_chosen(seed: int) -> None:
    models, contents = drawn(seed, clients=3)
    assert lowest(distances_of(contents), 0, 1) == [int(np.argmin(nearest(models)))]


@pytest.mark.parametrize(("clients", "byzantine"), [(7, 1), (12, 2)])
@pytest.mark.parametrize("seed", range(10))
def test_the_last_that_bulyan_chooses_is_the_first_of_equals(
    seed: int, clients: int, byzantine: int
) -> None:
    models, contents = drawn(seed, clients)
    chosen = by_krum(contents, byzantine, clients - 2 * byzantine)
    before = {id(content) for content in chosen[:-1]}
    left = [i for i, content in enumerate(contents) if id(content) not in before]
    assert len(left) == 2 * byzantine + 1
    first = left[int(np.argmin(nearest([models[i] for i in left])))]
    assert chosen[-1] is contents[first]


def test_the_chosen_are_returned_in_their_order() -> None:
    """Their mean is then rounded alike, whoever is nearest."""
    contents = [RecordDict({"arrays": to_record({"w": np.array([x])})}) for x in (9.0, 1, 0, 1)]
    assert lowest(distances_of(contents), 1, 3) == [1, 2, 3]
    assert lowest(distances_of(contents), 1, 1) == [1]
