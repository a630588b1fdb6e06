"""Temperature scaling: fitted from sums that add up, and what it does to probabilities."""

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.temperature_losses import TEMPERATURES, check_losses, losses_kind
from training.score_counts import Answers
from training.temperature import best_temperature, calibrated, temperature_losses


def softmax(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def answers(factor: float, images: int = 4000, classes: int = 5) -> Answers:
    """Labels drawn from softmax(z), and probabilities softmax(factor · z)."""
    rng = np.random.default_rng(0)
    outputs = 2 * rng.normal(size=(images, classes))
    chances = softmax(outputs).cumsum(axis=1)
    labels = (rng.uniform(size=(images, 1)) > chances).sum(axis=1).clip(0, classes - 1)
    return Answers(softmax(factor * outputs).astype(np.float32), labels)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_of_the_outputs(factor: float) -> None:
    """The true probabilities have the least expected loss, and T = factor gives them back.

    At 4,000 images the estimate's deviation is about 2 %.
    """
    found = best_temperature(temperature_losses(answers(factor)))
    assert found == pytest.approx(factor, rel=0.06)


def test_between_the_fixed_temperatures_the_loss_is_a_parabola() -> None:
    """Against the least loss of a grid that is 100 times as fine."""
    given = answers(2.3)
    found = best_temperature(temperature_losses(given))
    fine = found * np.exp(np.linspace(-0.02, 0.02, 81))
    images = np.arange(len(given.labels))
    losses = [-np.log(calibrated(given.probabilities, t)[images, given.labels]).sum() for t in fine]
    assert found == pytest.approx(fine[int(np.argmin(losses))], rel=1e-3)


def test_sums_over_clients_are_those_of_the_pooled_images() -> None:
    whole = answers(3.0)
    first, rest = (
        Answers(whole.probabilities[part], whole.labels[part])
        for part in (slice(0, 1234), slice(1234, None))
    )
    together = temperature_losses(first) + temperature_losses(rest)
    np.testing.assert_allclose(together, temperature_losses(whole), rtol=1e-12)


def test_temperature_one_gives_the_probabilities_and_the_loss_back() -> None:
    given = answers(1.0)
    np.testing.assert_allclose(calibrated(given.probabilities, 1.0), given.probabilities, rtol=1e-5)
    of_truth = given.probabilities[np.arange(len(given.labels)), given.labels]
    expected = -np.log(of_truth.astype(np.float64)).sum()
    at_one = temperature_losses(given)[list(TEMPERATURES).index(1.0)]
    assert at_one == pytest.approx(expected, rel=1e-6)


def test_half_the_outputs_by_hand() -> None:
    """0.9 and 0.1 at T = 2: √0.9 : √0.1 = 3 : 1."""
    np.testing.assert_allclose(calibrated(np.array([[0.9, 0.1]]), 2.0), [[0.75, 0.25]], rtol=1e-6)


@pytest.mark.parametrize(
    "probabilities, labels, expected",
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 1.0),
        (np.array([[0.9, 0.1]] * 3), np.array([0, 0, 0]), TEMPERATURES[0]),  # always right
        (np.array([[1.0, 0.0]] * 3), np.array([1, 1, 1]), TEMPERATURES[-1]),  # always wrong
    ],
)
def test_without_a_lowest_point_it_is_an_end(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], expected: float
) -> None:
    losses = temperature_losses(Answers(probabilities, labels))
    assert np.isfinite(losses).all()
    assert best_temperature(losses) == expected
    assert losses_kind(len(labels)).admits(losses.tolist())
    check_losses("validation", {"validation-temperature-losses": losses.tolist(), **PRESENT})


PRESENT = {"validation-probabilities": []}
