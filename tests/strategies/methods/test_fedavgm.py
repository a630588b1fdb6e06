"""FedAvgM against its formulas."""

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.method import Aggregation
from strategies.methods import METHODS
from strategies.methods.fedavgm import server_init, server_step
from training.config import parse


def settings_of(beta: float) -> dict[str, object]:
    return parse({"strategy": "fedavgm", "server-momentum": beta}).to_flat()


def test_worked_example() -> None:
    """β = ½ from w = 1. Mean 3: v = −2, w = 3. Mean 4: v = −1 + (3 − 4) = −2, w = 3 + 2 = 5."""
    settings, w = settings_of(0.5), np.array([1.0], np.float32)
    state = server_init(w, settings)
    w, state = server_step(Aggregation(settings, w, np.array([3.0], np.float32), state))
    assert (w.tolist(), state["v"].tolist()) == ([3.0], [-2.0])
    w, state = server_step(Aggregation(settings, w, np.array([4.0], np.float32), state))
    assert (w.tolist(), state["v"].tolist()) == ([5.0], [-2.0])


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_it_is_the_papers_update(beta: float) -> None:
    """v ← βv + (w − mean), w ← w − v, written out in float64; ours is computed otherwise."""
    rng, settings = np.random.default_rng(0), settings_of(beta)
    w: NDArray = rng.normal(size=50).astype(np.float32)
    state, ours, theirs, v = server_init(w, settings), w, w.astype(np.float64), np.zeros(50)
    for _ in range(5):
        mean = (ours + rng.normal(size=50)).astype(np.float32)
        v = beta * v + (theirs - mean)
        theirs = theirs - v
        ours, state = server_step(Aggregation(settings, ours, mean, state))
        assert ours.dtype == state["v"].dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_without_momentum_it_is_the_mean_to_the_bit() -> None:
    settings = settings_of(0.0)
    mean = np.array([0.1, -3e-8, 0.0], np.float32)
    w = np.array([1e8, 7.0, 2.0], np.float32)
    found, _ = server_step(
        Aggregation(settings, w, mean, {"v": np.array([5.0, -5.0, 1e30], np.float32)})
    )
    assert found.tobytes() == mean.tobytes()


def test_the_papers_default() -> None:
    assert METHODS["fedavgm"].keys["server-momentum"].default == 0.9
