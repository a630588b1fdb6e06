"""FedAdam against Algorithm 2 of the paper, written out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.method import Aggregation
from strategies.methods.fedadam import server_init, server_step
from training.config import DEFAULTS, parse


def settings_of(**keys: float) -> dict[str, object]:
    values = {f"server-{key.replace('_', '-')}": value for key, value in keys.items()}
    return parse({"strategy": "fedadam", **values}).to_flat()


def test_worked_example() -> None:
    """β₁ = β₂ = ½, η = τ = 1, from w = 1 with mean 3, so Δ = 2.

    m = ½·0 + ½·2 = 1, v = ½·1 + ½·4 = 2.5, w = 1 + 1/(√2.5 + 1).
    """
    settings = settings_of(learning_rate=1.0, beta1=0.5, beta2=0.5, tau=1.0)
    w = np.array([1.0])
    found, state = server_step(Aggregation(settings, w, np.array([3.0]), server_init(w, settings)))
    assert (state["m"].tolist(), state["v"].tolist()) == ([1.0], [2.5])
    assert found.tolist() == pytest.approx([1 + 1 / (np.sqrt(2.5) + 1)], rel=1e-15)


def test_it_is_the_papers_update() -> None:
    """Five rounds in float32 against float64; the state starts from m = 0 and v = τ²."""
    rng, settings = np.random.default_rng(0), settings_of()
    rate, tau, beta1, beta2 = 0.01, 1e-3, 0.9, 0.99
    w: NDArray = rng.normal(size=50).astype(np.float32)
    state, ours, theirs = server_init(w, settings), w, w.astype(np.float64)
    m, v = np.zeros(50), np.full(50, tau**2)
    for _ in range(5):
        mean = (ours + 0.1 * rng.normal(size=50)).astype(np.float32)
        change = mean - theirs
        m = beta1 * m + (1 - beta1) * change
        v = beta2 * v + (1 - beta2) * change**2
        theirs = theirs + rate * m / (np.sqrt(v) + tau)
        ours, state = server_step(Aggregation(settings, ours, mean, state))
        assert ours.dtype == state["m"].dtype == state["v"].dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_without_a_change_nothing_moves() -> None:
    settings = settings_of()
    w = np.array([3.0, -0.5], np.float32)
    found, state = server_step(Aggregation(settings, w, w.copy(), server_init(w, settings)))
    assert found.tobytes() == w.tobytes()
    assert state["m"].tolist() == [0, 0]


def test_the_papers_defaults() -> None:
    """β₁ = 0.9, β₂ = 0.99, τ = 10⁻³; η is tuned for each task."""
    found = [DEFAULTS[f"server-{key}"] for key in ("beta1", "beta2", "tau")]
    assert found == [0.9, 0.99, 0.001]
