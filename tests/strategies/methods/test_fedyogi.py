"""FedYogi against Algorithm 2 of the paper, written out."""

import numpy as np
import pytest

from strategies.method import Aggregation
from strategies.methods.fedyogi import server_init, server_step
from tests.strategies.methods.convex import ConvexRun, Matrix, Problem, first
from training.config import parse

pytestmark = pytest.mark.usefixtures("flower_task")

PROBLEM = Problem.drawn()


def of_the_paper(rounds: int, rate: float, beta1: float, beta2: float, tau: float) -> Matrix:
    """With Δ_t the mean of the clients' updates, x_t; line 10 for Yogi."""
    x, m, v = first(), np.zeros_like(first()), np.full_like(first(), tau**2)
    for _ in range(rounds):
        change = np.zeros_like(x)
        for client in range(3):
            y = x.copy()
            for _ in range(PROBLEM.steps[client]):
                y = y - PROBLEM.rate * PROBLEM.gradient(client, y)
            change += (y - x) / 3
        m = beta1 * m + (1 - beta1) * change
        v = v - (1 - beta2) * change**2 * np.sign(v - change**2)
        x = x + rate * m / (np.sqrt(v) + tau)
    return x


def test_it_is_the_papers_algorithm() -> None:
    keys = {"rate": 0.05, "beta1": 0.8, "beta2": 0.7, "tau": 0.01}
    names = {f"server_{key.replace('rate', 'learning_rate')}": v for key, v in keys.items()}
    expected = of_the_paper(8, **keys)
    found = ConvexRun("fedyogi", PROBLEM, names).rounds(8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(expected - first()).max() > 0.1
    assert np.abs(ConvexRun("fedadam", PROBLEM, names).rounds(8) - expected).max() > 1e-3


def test_worked_example() -> None:
    """β₁ = 0, β₂ = ½, η = τ = 1 from w = 1. Mean 3: Δ² = 4 > v = 1, so v = 1 + ½·4 = 3.

    Then w = 1 + 2/(√3 + 1). Without a change sign(v − 0) takes ½·0 from v, and w stays.
    """
    keys = {"learning-rate": 1.0, "beta1": 0.0, "beta2": 0.5, "tau": 1.0}
    settings = parse(
        {"strategy": "fedyogi", **{f"server-{key}": value for key, value in keys.items()}}
    ).to_flat()
    w = np.array([1.0])
    w, state = server_step(Aggregation(settings, w, np.array([3.0]), server_init(w, settings)))
    assert state["v"].tolist() == [3.0]
    assert w.tolist() == pytest.approx([1 + 2 / (np.sqrt(3) + 1)], rel=1e-15)
    again, state = server_step(Aggregation(settings, w, w.copy(), state))
    assert (again.tolist(), state["v"].tolist()) == (w.tolist(), [3.0])
