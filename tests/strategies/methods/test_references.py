"""Each method's rounds against its paper's, as a plain loop in NumPy; limits to the bit.

SCAFFOLD, FedNova and FedDyn, whose clients may be absent, have files of their own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.strategies.methods.convex import KINDS, ConvexRun, Matrix, Network, Problem, first

pytestmark = pytest.mark.usefixtures("flower_task")

SEVEN = (5, 8, 12, 6, 9, 7, 10)
Step = Callable[[Matrix, list[Matrix], dict[str, Any]], Matrix]


def mean(models: list[Matrix]) -> Matrix:
    return sum(models[1:], models[0]) / len(models)


def plain(_: Matrix, models: list[Matrix], __: dict[str, Any]) -> Matrix:
    return mean(models)


def with_momentum(w: Matrix, models: list[Matrix], state: dict[str, Any]) -> Matrix:
    state["v"] = 0.9 * state.get("v", 0) + (w - mean(models))
    return w - state["v"]


def adaptive(second: Callable[[Matrix, Matrix], Matrix], beta1: float = 0.9) -> Step:
    """Reddi et al., Algorithm 2, with η = 0.1 and τ = 10⁻³."""

    def step(w: Matrix, models: list[Matrix], state: dict[str, Any]) -> Matrix:
        delta = mean([model - w for model in models])
        state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * delta
        state["v"] = second(state.get("v", np.full_like(w, 1e-6)), delta**2)
        return w + 0.1 * state["m"] / (np.sqrt(state["v"]) + 1e-3)

    return step


def median(_: Matrix, models: list[Matrix], __: dict[str, Any]) -> Matrix:
    """Of seven values the fourth."""
    return np.sort(np.stack(models), axis=0)[3]


def trimmed(_: Matrix, models: list[Matrix], __: dict[str, Any]) -> Matrix:
    """Without the two largest and the two smallest of seven."""
    return np.sort(np.stack(models), axis=0)[2:5].mean(axis=0)


def by_score(models: list[Matrix], byzantine: int) -> list[Matrix]:
    """The models by the sum of the squared distances to their n − f − 2 nearest."""
    scores = []
    for i, one in enumerate(models):
        far = sorted(((one - other) ** 2).sum() for j, other in enumerate(models) if j != i)
        scores.append(sum(far[: len(models) - byzantine - 2]))
    return [models[i] for i in np.argsort(scores)]


def krum(_: Matrix, models: list[Matrix], __: dict[str, Any]) -> Matrix:
    return by_score(models, 2)[0]


def multikrum(_: Matrix, models: list[Matrix], __: dict[str, Any]) -> Matrix:
    return mean(by_score(models, 2)[:5])


def bulyan(w: Matrix, models: list[Matrix], _: dict[str, Any]) -> Matrix:
    """Of five models the three values nearest to the median, of every weight."""
    chosen = np.stack(by_score(models, 1)[:5])
    result = np.empty_like(w)
    for place in np.ndindex(w.shape):
        values = chosen[(slice(None), *place)]
        near = np.argsort(np.abs(values - np.median(values)))[:3]
        result[place] = values[near].mean()
    return result


ADAPTIVE = {"server-learning-rate": 0.1}
# Method, its settings, the pull of a local step, and the server's step.
PAPERS: list[tuple[str, dict[str, Any], float, Step]] = [
    ("fedavg", {}, 0.0, plain),
    ("fedprox", {"proximal-mu": 0.5}, 0.5, plain),
    ("fedavgm", {}, 0.0, with_momentum),
    ("fedadam", ADAPTIVE, 0.0, adaptive(lambda v, squared: 0.99 * v + 0.01 * squared)),
    (
        "fedyogi",
        ADAPTIVE,
        0.0,
        adaptive(lambda v, squared: v - 0.01 * squared * np.sign(v - squared)),
    ),
    ("fedadagrad", ADAPTIVE, 0.0, adaptive(lambda v, squared: v + squared, beta1=0.0)),
    ("median", {}, 0.0, median),
    ("trimmed-mean", {"trimmed-clients": 2}, 0.0, trimmed),
    ("krum", {"byzantine-clients": 2}, 0.0, krum),
    ("multikrum", {"byzantine-clients": 2}, 0.0, multikrum),
    ("bulyan", {"byzantine-clients": 1}, 0.0, bulyan),
]


def local_model(problem: Problem, client: int, start: Matrix, pull: float) -> Matrix:
    w = start.copy()
    for _ in range(problem.steps[client]):
        w = w - problem.rate * (problem.gradient(client, w) + pull * (w - start))
    return w


@KINDS
@pytest.mark.parametrize(("name", "settings", "pull", "step"), PAPERS, ids=[p[0] for p in PAPERS])
def test_it_is_the_papers_algorithm(
    kind: type[Problem], name: str, settings: dict[str, Any], pull: float, step: Step
) -> None:
    problem = kind.drawn(SEVEN, steps=(2, 3, 5, 1, 3, 4, 2))
    w, state = first(), dict[str, Any]()
    for _ in range(6):
        models = [local_model(problem, client, w, pull) for client in range(7)]
        w = step(w, models, state)
    found = ConvexRun(name, problem, settings).rounds(6)
    np.testing.assert_allclose(found, w, rtol=0, atol=1e-6)
    others = ConvexRun("fedavg", problem).rounds(6)
    assert name == "fedavg" or np.abs(found - others).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fedprox", {"proximal-mu": 0.0}),
        ("fedavgm", {"server-momentum": 0.0}),  # the adaptive methods' server with SGD of rate 1
        ("trimmed-mean", {"trimmed-clients": 0}),
        ("multikrum", {}),
        ("bulyan", {}),
    ],
)
@KINDS
def test_at_its_limit_it_is_fedavg_to_the_bit(
    kind: type[Problem], name: str, settings: dict[str, Any]
) -> None:
    problem = kind.drawn(steps=(2, 3, 5))
    found = ConvexRun(name, problem, settings).rounds(5)
    assert found.tobytes() == ConvexRun("fedavg", problem).rounds(5).tobytes()


def test_the_networks_gradient_is_that_of_its_loss() -> None:
    problem, w, step = Network.drawn(), first(), 1e-6

    def loss(w: Matrix) -> float:
        a, b = problem.data[1]
        return float(((np.tanh(a[:, :2] @ w[:2]) @ w[2:] - b) ** 2).sum() / (2 * len(a)))

    for place in np.ndindex(w.shape):
        moved = np.zeros_like(w)
        moved[place] = step
        slope = (loss(w + moved) - loss(w - moved)) / (2 * step)
        assert problem.gradient(1, w)[place] == pytest.approx(slope, abs=1e-7)
