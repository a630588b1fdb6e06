"""Arrays that no training makes: they cost their client the reply, and nobody else anything."""

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.arrays import to_record
from strategies.layout import Layout
from strategies.update_ranges import MOST_STEPS, out_of_range

SENT = {
    "bn.weight": np.ones(3, np.float32),
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
        {"running_var": [0, 1e30, 2]},
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
