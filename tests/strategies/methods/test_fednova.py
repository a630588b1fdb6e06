"""FedNova against the paper's update rule, written out."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest

from strategies.methods.fednova import STEPS, scale_of, steps_of, weight
from tests.strategies.methods.convex import EXAMPLES, KINDS, ConvexRun, Matrix, Problem, first
from training.epoch import step_batches

pytestmark = pytest.mark.usefixtures("flower_task")

PROBLEM = Problem.drawn(steps=(1, 4, 7))
NOBODY: Mapping[int, Collection[int]] = {}
WEIGHTS = pytest.mark.parametrize("weights", ["equal", "examples"])


def of_the_paper(
    problem: Problem, weights: str, rounds: int, absent: Mapping[int, Collection[int]]
) -> Matrix:
    """d_i is the mean of client i's gradients; p_i its share of the clients that are there."""
    x = first()
    for number in range(1, rounds + 1):
        there = [i for i in range(3) if i not in absent.get(number, ())]
        sizes = {i: EXAMPLES[i] if weights == "examples" else 1 for i in there}
        share = {i: size / sum(sizes.values()) for i, size in sizes.items()}
        effective = sum(share[i] * problem.steps[i] for i in there)
        step = np.zeros_like(x)
        for i in there:
            y, gradients = x.copy(), []
            for _ in range(problem.steps[i]):
                gradients.append(problem.gradient(i, y))
                y = y - problem.rate * gradients[-1]
            step += share[i] * problem.rate * sum(gradients) / problem.steps[i]
        x = x - effective * step
    return x


@WEIGHTS
@KINDS
@pytest.mark.parametrize("absent", [NOBODY, {2: {0}, 3: {0, 2}, 5: {1}}], ids=["all", "some"])
def test_it_is_the_papers_algorithm(
    kind: type[Problem], weights: str, absent: Mapping[int, Collection[int]]
) -> None:
    problem = kind.drawn(steps=PROBLEM.steps)
    run = ConvexRun("fednova", problem, {"aggregation_weights": weights})
    expected = of_the_paper(problem, weights, 8, absent)
    np.testing.assert_allclose(run.rounds(8, absent), expected, rtol=0, atol=1e-6)
    plain = ConvexRun("fedavg", problem, {"aggregation_weights": weights})
    assert np.abs(plain.rounds(8, absent) - expected).max() > 1e-2


@WEIGHTS
@KINDS
def test_with_equal_numbers_of_steps_it_is_fedavg_to_the_bit(
    kind: type[Problem], weights: str
) -> None:
    """Also by weights of 5, 8 and 12, whose thirds are rounded."""
    equal, settings = kind.drawn(steps=(3, 3, 3)), {"aggregation_weights": weights}
    found, expected = (ConvexRun(n, equal, settings).rounds(5) for n in ("fednova", "fedavg"))
    assert found.tobytes() == expected.tobytes()


def test_worked_example() -> None:
    """1 and 3 steps with equal weights: τ_eff = 2, the mean of 1/τ_i is 2/3, and s = 4/3."""
    replies = [(1.0, {STEPS: 1}), (1.0, {STEPS: 3})]
    assert scale_of(replies) == pytest.approx(4 / 3, rel=1e-15)
    assert weight({STEPS: 3}) * 3 == 1


@pytest.mark.parametrize("images", [2, 3, 8, 9, 10, 16, 17, 18, 100])
@pytest.mark.parametrize("batch", [2, 8])
@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_number_of_steps_is_that_of_the_batches(
    images: int, batch: int, accumulated: int
) -> None:
    """So a client cannot claim another number: it would count for more, or for less."""
    keys = {"local-epochs": 3, "batch-size": batch, "accumulate-batches": accumulated}
    settings: dict[str, Any] = keys
    expected = 3 * len(list(step_batches(images, batch, accumulated)))
    kind = steps_of(settings, images)
    assert (kind.least, kind.most) == (expected, expected)
    assert steps_of(settings, None).admits(expected)
    assert not steps_of(settings, None).admits(0)
