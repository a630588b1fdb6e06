"""Each method's rounds against its paper's, as a plain loop in NumPy; limits to the bit.

SCAFFOLD, FedNova and FedDyn, whose clients may be absent, have files of their own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.strategies.methods.convex import (
    KINDS,
    WHOLE,
    ConvexRun,
    Matrix,
    Network,
    Problem,
    first,
)

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
    """The models by the sum of the squared distances to their n − f − 2 nearest, at least one."""
    scores = []
    for i, one in enumerate(models):
        far = sorted(((one - other) ** 2).sum() for j, other in enumerate(models) if j != i)
        scores.append(sum(far[: max(1, len(models) - byzantine - 2)]))
    return [models[i] for i in np.argsort(scores)]


def krum(_: Matrix, models: list[Matrix], __: dict[str, Any]) -> Matrix:
    return by_score(models, 2)[0]


def multikrum(_: Matrix, models: list[Matrix], __: dict[str, Any]) -> Matrix:
    return mean(by_score(models, 2)[:5])


def bulyan(w: Matrix, models: list[Matrix], _: dict[str, Any]) -> Matrix:
    """Of every weight the three values nearest to the median, of five models chosen one by one."""
    left, picked = list(models), list[Matrix]()
    for _ in range(5):
        picked.append(by_score(left, 1)[0])
        left = [model for model in left if model is not picked[-1]]
    chosen = np.stack(picked)
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


def local_model(
    problem: Problem, client: int, start: Matrix, pull: float, anchor: Matrix | None = None
) -> Matrix:
    """A client's local steps, pulled towards the start or another model."""
    w, towards = start.copy(), start if anchor is None else anchor
    for _ in range(problem.steps[client]):
        w = w - problem.rate * (problem.gradient(client, w) + pull * (w - towards))
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


def own_models_of_the_paper(name: str, problem: Problem, rounds: int) -> list[Matrix]:
    """Of each client its own model after some rounds; the rows of w that are shared come first."""
    w, clients = first(), range(len(problem.data))
    own = [first() for _ in clients]
    shared = {"fedper": slice(0, 2), "fedbn": slice(0, 3), "local": slice(0, 0)}
    for _ in range(rounds):
        if name in ("ditto", "finetune"):
            for k in clients:
                own[k] = local_model(problem, k, own[k], 0.5, anchor=w)
            w = mean([local_model(problem, k, w, 0.0) for k in clients])
        else:
            rows = shared[name]
            for k in clients:
                own[k] = local_model(problem, k, np.concatenate([w[rows], own[k][rows.stop :]]), 0)
            w = mean(own)
    if name == "finetune":
        return [local_model(problem, k, local_model(problem, k, w, 0.0), 0.0) for k in clients]
    if name != "ditto":
        return [np.concatenate([w[shared[name]], one[shared[name].stop :]]) for one in own]
    return own


OWN_MODELS: dict[str, tuple[dict[str, Any], dict[str, slice]]] = {
    "ditto": ({"ditto-lambda": 0.5}, WHOLE),
    "finetune": ({"finetune-epochs": 2}, WHOLE),
    "local": ({}, WHOLE),
    "fedper": ({}, {"trunk.weight": slice(0, 2), "head.weight": slice(2, 4)}),
    "fedbn": ({}, {"conv": slice(0, 3), "bn.running_mean": slice(3, 4)}),
}


@KINDS
@pytest.mark.parametrize("name", OWN_MODELS)
def test_the_clients_own_models_are_the_papers(kind: type[Problem], name: str) -> None:
    settings, parts = OWN_MODELS[name]
    problem = kind.drawn(steps=(2, 3, 5))
    run = ConvexRun(name, problem, settings, parts)
    run.rounds(6)
    found = [run.own(client) for client in range(3)]
    np.testing.assert_allclose(found, own_models_of_the_paper(name, problem, 6), rtol=0, atol=1e-6)
    assert min(np.abs(found[0] - found[1]).max(), np.abs(found[1] - found[2]).max()) > 1e-2


@KINDS
def test_limits_of_own_models_to_the_bit(kind: type[Problem]) -> None:
    """What is shared of Ditto and FineTune is FedAvg; FedBN without BatchNorm is FedAvg; Ditto with
    λ = 0 is Local; fine-tuning for no epoch leaves the shared model.
    """
    problem = kind.drawn(steps=(2, 3, 5))
    expected = ConvexRun("fedavg", problem).rounds(5).tobytes()
    alone = ConvexRun("local", problem)
    alone.rounds(5)
    free = ConvexRun("ditto", problem, {"ditto-lambda": 0.0})
    untuned = ConvexRun("finetune", problem, {"finetune-epochs": 0})
    for run in (free, untuned, ConvexRun("ditto", problem), ConvexRun("fedbn", problem)):
        assert run.rounds(5).tobytes() == expected
    for client in range(3):
        assert free.own(client).tobytes() == alone.own(client).tobytes() != expected
        assert untuned.own(client).tobytes() == expected


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
