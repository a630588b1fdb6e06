"""Weights that no training makes: they cost their client the reply, and nobody else anything."""

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.arrays import to_record
from strategies.layout import Layout
from strategies.update_ranges import LONGEST, MOST_STEPS, out_of_range, too_long
from strategies.update_sketch import Update

SENT = {
    "bn.weight": np.ones(3, np.float32),
    "bn.running_mean": np.zeros(3, np.float32),
    "bn.running_var": np.ones(3, np.float32),
    "bn.num_batches_tracked": np.array(7),
    "attention.relative_position_index": np.arange(4),
}
FLAT = Layout.of(SENT)


def fault(flat: bool, **changed: object) -> str | None:
    """What is said of a reply in which some arrays, named by their last part, are others."""
    ours: dict[str, NDArray] = {
        name: np.asarray(changed.get(name.rpartition(".")[2], array), array.dtype)
        for name, array in SENT.items()
    }
    if flat:
        return out_of_range(FLAT.flatten(ours), FLAT.flatten(SENT), FLAT)
    return out_of_range(to_record(ours), to_record(SENT), None)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"weight": [-1e30, np.inf, 0]},
        # 1,000,000 times the norm of what was sent is 1,000,000·√3 = 1,732,051.
        {"running_var": [0, 1.7e6, 2]},
        # Whatever is wrong with that, it is said where all floats are looked at.
        {"running_var": [np.nan, 1, 2]},
        {"num_batches_tracked": 7 + MOST_STEPS},
    ],
)
def test_what_training_may_make(flat: bool, changed: dict[str, object]) -> None:
    assert fault(flat, **changed) is None


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        # The mean of the others' and this is below zero where theirs are small.
        ({"running_var": [1, -0.1, 1]}, "'bn.running_var' holds a negative variance"),
        # The others measure their own variances in training, and validate with this one.
        ({"running_var": [1, 1e30, 1]}, "running means and variances (norm 1e+30) is longer than"),
        ({"running_mean": [0, -1e30, 0]}, "running means and variances (norm 1e+30) is longer"),
        ({"running_mean": [1.3e6, 0, 0], "running_var": [1.3e6, 1, 1]}, "(norm 1.84e+06)"),
        ({"num_batches_tracked": 6}, "counts steps"),
        ({"num_batches_tracked": 8 + MOST_STEPS}, "counts steps"),
        ({"num_batches_tracked": 2**63 - 1}, "counts steps"),
        ({"num_batches_tracked": -(2**63)}, "counts steps"),
        # The largest of all clients' would be looked up in a table of four.
        ({"relative_position_index": [0, 1, 2, 10**9]}, "integers that training does not change"),
        ({"relative_position_index": [0, 1, 2, 2]}, "integers that training does not change"),
    ],
)
def test_what_it_may_not(flat: bool, changed: dict[str, object], said: str) -> None:
    found = fault(flat, **changed)
    assert found is not None
    assert said in found


@pytest.mark.parametrize(
    ("weights", "most"),
    [([3.0, 4.0], 5000.0), ([0.3, 0.4], 1000.0), ([0.0, 0.0], 1000.0), ([3e20, 4e20], 5e23)],
    ids=["long", "short", "zero", "beyond float32's squares"],
)
def test_an_update_is_bounded_by_the_weights_that_it_started_from(
    weights: list[float], most: float
) -> None:
    """By 1,000 times ‖(3, 4)‖ = 5, or 1,000 times 1; the integer does not count."""
    base = to_record({"w": np.array(weights, np.float32), "counter": np.array(10**9)})
    assert too_long(Update((most * (1 - 1e-6)) ** 2), base) is None
    found = too_long(Update((most * (1 + 1e-6)) ** 2), base)
    assert found == (
        f"its update (norm {most:.3g}) is longer than {most:.3g}, {LONGEST:,.0f} times the norm of "
        "what it was sent, or of 1"
    )


def test_what_cannot_be_measured_is_too_long() -> None:
    assert too_long(Update(np.inf), to_record(SENT)) == "its update is too large to be measured"


def test_what_is_carried_has_a_bound_of_its_own() -> None:
    """‖c‖ = 5, so a million times that; gradients say nothing of the weights' size."""
    base = to_record({"w": np.zeros(1, np.float32), "c/w": np.array([3.0, 4.0], np.float32)})
    assert too_long(Update(carried=(4.9e6) ** 2), base) is None
    found = too_long(Update(carried=(5.1e6) ** 2), base)
    assert found is not None
    assert found.startswith("the update of what it carries beside the weights (norm 5.1e+06)")
    assert too_long(Update(carried=np.inf), base) == "its update is too large to be measured"
