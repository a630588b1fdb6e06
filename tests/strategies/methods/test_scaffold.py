"""SCAFFOLD against Algorithm 1 of the paper with option II, written out."""

from collections.abc import Collection, Mapping

import numpy as np
import pytest
import torch

from strategies.method import LocalTraining
from strategies.methods.scaffold import Corrected
from tests.strategies.methods.convex import KINDS, ConvexRun, Matrix, Problem, first

pytestmark = pytest.mark.usefixtures("flower_task")

PROBLEM = Problem.drawn(steps=(2, 3, 5))
NOBODY: Mapping[int, Collection[int]] = {}


def of_the_paper(
    problem: Problem,
    rounds: int,
    *,
    global_step: float = 1.0,
    absent: Mapping[int, Collection[int]] = NOBODY,
    warm: bool = False,
) -> Matrix:
    """N clients, S those that are there, K_i local steps of η_l; returns x."""
    clients = range(len(problem.data))
    x, c, own = first(), np.zeros_like(first()), [np.zeros_like(first()) for _ in clients]
    for number in range(1, rounds + 1):
        there = [i for i in clients if i not in absent.get(number, ())]
        moved, changed = np.zeros_like(x), np.zeros_like(c)
        for i in there:
            y, steps = x.copy(), problem.steps[i]
            for _ in range(steps):
                y = y - problem.rate * (problem.gradient(i, y) - own[i] + c)
            following = own[i] - c + (x - y) / (steps * problem.rate)
            moved += (y - x) / len(there)
            changed += (following - own[i]) / len(there)
            own[i] = following
        if not warm or number > 1:
            x = x + global_step * moved
        c = c + len(there) / len(own) * changed
    return x


@pytest.mark.parametrize("global_step", [1.0, 0.7])
@KINDS
@pytest.mark.parametrize("absent", [NOBODY, {2: {0}, 3: {0, 2}, 5: {1}}], ids=["all", "some"])
def test_it_is_the_papers_algorithm(
    kind: type[Problem], global_step: float, absent: Mapping[int, Collection[int]]
) -> None:
    problem = kind.drawn(steps=PROBLEM.steps)
    run = ConvexRun("scaffold", problem, {"global_step_size": global_step})
    expected = of_the_paper(problem, 8, global_step=global_step, absent=absent)
    np.testing.assert_allclose(run.rounds(8, absent), expected, rtol=0, atol=1e-6)
    assert np.abs(expected - first()).max() > 0.1


@KINDS
@pytest.mark.parametrize("resting", [0, 2], ids=["all move", "one rests"])
def test_a_warm_start_only_sets_the_controls(kind: type[Problem], resting: int) -> None:
    """So round two is the paper's from c_i = the mean gradient of client i's first local steps.

    That is so of an array, too, whose first gradients are zero, as those of LoRA's A are.
    """

    class Resting(kind):  # type: ignore[misc, valid-type]
        """The first rows of w move from the second round on."""

        calls = 0

        def gradient(self, client: int, w: Matrix) -> Matrix:
            found = super().gradient(client, w)
            if self.calls < sum(self.steps):
                found[:resting] = 0
            self.calls += 1
            return found

    warm, parts = {"scaffold_warm_start": 1}, {"a": slice(0, 2), "b": slice(2, 4)}
    run = ConvexRun("scaffold", Resting.drawn(steps=PROBLEM.steps), warm, parts)
    assert run.rounds(1).tobytes() == first().tobytes()
    problem = Resting.drawn(steps=PROBLEM.steps)
    expected = of_the_paper(problem, 6, warm=True)
    found = ConvexRun("scaffold", Resting.drawn(steps=PROBLEM.steps), warm, parts).rounds(6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(expected - first()).max() > 0.1


def test_it_reaches_the_common_minimum_where_fedavg_does_not() -> None:
    """Of the sum of the clients' means, whose gradient is 0 there."""
    far = Problem.drawn(steps=(4, 4, 4), rate=0.3)

    def slope(w: Matrix) -> float:
        return float(np.abs(sum(far.gradient(i, w) for i in range(3))).max())

    assert slope(ConvexRun("scaffold", far).rounds(60)) < 1e-6
    assert slope(ConvexRun("fedavg", far).rounds(60)) > 0.1


@KINDS
def test_with_zero_controls_it_is_fedavg_to_the_bit(kind: type[Problem]) -> None:
    """As in round one; with one step on all images, whose controls add up to nothing, always."""
    problem = kind.drawn(steps=PROBLEM.steps)
    found = ConvexRun("scaffold", problem).rounds(1)
    assert found.tobytes() == ConvexRun("fedavg", problem).rounds(1).tobytes()
    one = kind.drawn(steps=(1, 1, 1))
    found, expected = (ConvexRun(name, one).rounds(6) for name in ("scaffold", "fedavg"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_weighted_by_examples_the_control_is_the_weighted_mean() -> None:
    """Then all that is said of the mean holds for F = Σ n_i F_i / Σ n_i: its minimum is reached."""
    far = Problem.drawn(steps=(4, 4, 4), rate=0.3)
    run = ConvexRun("scaffold", far, {"aggregation_weights": "examples"})
    w = run.rounds(60, {3: {1}, 9: {0, 2}})
    slope = sum(len(a) * far.gradient(i, w) for i, (a, _) in enumerate(far.data))
    assert np.abs(slope).max() < 1e-5


def test_worked_example() -> None:
    """x = 1, c = ½, c_i = ¼, η_l = 0.1, gradients 2 and 1: y = 1 − 0.1 (2¼ + 1¼) = 0.65.

    Returned is 0.35/0.2 = 1.75, and c_i⁺ = ¼ − ½ + 1.75 = 1.5.
    """
    y = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    sent = {"": [y.detach().clone()], "c": [torch.tensor([0.5], dtype=torch.float64)]}
    training = LocalTraining(
        settings={},
        trained={"w": y},
        received=lambda kind="": sent[kind],
        learning_rate=0.1,
        state={"w": torch.tensor([0.25], dtype=torch.float64)},
    )
    half = Corrected(training)
    for gradient in (2.0, 1.0):
        y.grad = torch.tensor([gradient], dtype=torch.float64)
        half.before_step()
        with torch.no_grad():
            y -= 0.1 * y.grad
    half.after_training()
    assert y.tolist() == pytest.approx([0.65])
    assert training.returned["c"][0].tolist() == pytest.approx([1.75])
    assert training.state["w"].tolist() == pytest.approx([1.5])


def test_a_parameter_without_gradient_stays() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    training = LocalTraining(
        settings={},
        trained={"w": w},
        received=lambda kind="": [torch.tensor([1.0])],
        learning_rate=0.1,
    )
    Corrected(training).before_step()
    assert w.grad is None
