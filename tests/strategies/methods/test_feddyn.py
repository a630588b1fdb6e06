"""FedDyn against Algorithm 1 of the paper, written out."""

from collections.abc import Collection, Mapping

import numpy as np
import pytest

from tests.strategies.methods.convex import KINDS, ConvexRun, Matrix, Problem, first

pytestmark = pytest.mark.usefixtures("flower_task")

PROBLEM = Problem.drawn(steps=(2, 3, 5))
NOBODY: Mapping[int, Collection[int]] = {}


def of_the_paper(
    problem: Problem, rounds: int, alpha: float, absent: Mapping[int, Collection[int]] = NOBODY
) -> Matrix:
    """θ and h at the server; ∇L_k(θ_k) as each of m clients keeps it, P those that are there."""
    clients = range(len(problem.data))
    theta, h = first(), np.zeros_like(first())
    kept = [np.zeros_like(theta) for _ in clients]
    for number in range(1, rounds + 1):
        there = [k for k in clients if k not in absent.get(number, ())]
        models = []
        for k in there:
            local = theta.copy()
            for _ in range(problem.steps[k]):
                slope = problem.gradient(k, local) - kept[k] + alpha * (local - theta)
                local = local - problem.rate * slope
            kept[k] = kept[k] - alpha * (local - theta)
            models.append(local)
        h = h - alpha / len(clients) * sum(local - theta for local in models)
        theta = sum(models) / len(there) - h / alpha
    return theta


@pytest.mark.parametrize("alpha", [0.05, 0.5])
@KINDS
@pytest.mark.parametrize("absent", [NOBODY, {2: {0}, 3: {0, 2}, 5: {1}}], ids=["all", "some"])
def test_it_is_the_papers_algorithm(
    kind: type[Problem], alpha: float, absent: Mapping[int, Collection[int]]
) -> None:
    problem = kind.drawn(steps=PROBLEM.steps)
    found = ConvexRun("feddyn", problem, {"dynamic_alpha": alpha}).rounds(8, absent)
    expected = of_the_paper(problem, 8, alpha, absent)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(expected - first()).max() > 0.1


def test_it_reaches_the_common_minimum() -> None:
    """Where the clients' gradients add up to 0, though none of them is."""
    far = Problem.drawn(steps=(30, 30, 30), rate=0.3)
    w = ConvexRun("feddyn", far, {"dynamic_alpha": 0.5}).rounds(60)
    slopes = [far.gradient(client, w) for client in range(3)]
    assert np.abs(sum(slopes)).max() < 1e-6
    assert min(np.abs(slope).max() for slope in slopes) > 0.1


@KINDS
def test_without_alpha_it_is_fedavg_to_the_bit(kind: type[Problem]) -> None:
    problem = kind.drawn(steps=PROBLEM.steps)
    found = ConvexRun("feddyn", problem, {"dynamic_alpha": 0.0}).rounds(5)
    assert found.tobytes() == ConvexRun("fedavg", problem).rounds(5).tobytes()
