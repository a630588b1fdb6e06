"""FedAdagrad against Algorithm 2 of the paper with β₁ = 0, written out."""

import numpy as np
import pytest

from strategies.method import Aggregation
from strategies.methods import METHODS
from strategies.methods.fedadagrad import server_init, server_step
from tests.strategies.methods.convex import ConvexRun, Matrix, Problem, first
from training.config import parse

pytestmark = pytest.mark.usefixtures("flower_task")

PROBLEM = Problem.drawn()


def of_the_paper(rounds: int, rate: float, tau: float) -> Matrix:
    x, v = first(), np.full_like(first(), tau**2)
    for _ in range(rounds):
        change = np.zeros_like(x)
        for client in range(3):
            y = x.copy()
            for _ in range(PROBLEM.steps[client]):
                y = y - PROBLEM.rate * PROBLEM.gradient(client, y)
            change += (y - x) / 3
        v = v + change**2
        x = x + rate * change / (np.sqrt(v) + tau)
    return x


def test_it_is_the_papers_algorithm() -> None:
    settings = {"server_learning_rate": 0.2, "server_tau": 0.01}
    expected = of_the_paper(8, 0.2, 0.01)
    found = ConvexRun("fedadagrad", PROBLEM, settings).rounds(8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(expected - first()).max() > 0.1


def test_worked_example() -> None:
    """η = τ = 1 from w = 1 with v = 1. Mean 3: v = 1 + 4 = 5, w = 1 + 2/(√5 + 1)."""
    keys = {"server-learning-rate": 1.0, "server-tau": 1.0}
    settings = parse({"strategy": "fedadagrad", **keys}).to_flat()
    w = np.array([1.0])
    found, state = server_step(Aggregation(settings, w, np.array([3.0]), server_init(w, settings)))
    assert state["v"].tolist() == [5.0]
    assert found.tolist() == pytest.approx([1 + 2 / (np.sqrt(5) + 1)], rel=1e-15)


def test_it_has_no_first_moment() -> None:
    assert METHODS["fedadagrad"].keys.keys() == {"server-learning-rate", "server-tau"}
