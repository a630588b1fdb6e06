"""The mean of models that arrive one by one equals that of all at once."""

from typing import cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from strategies.aggregation import NotFinite, RunningMean, mean_into
from strategies.arrays import to_record, views
from tests.support import assert_same_bits


def models(count: int) -> list[dict[str, NDArray]]:
    rng = np.random.default_rng(0)
    return [
        {
            "w": rng.normal(size=(3, 5)).astype(np.float32),
            "half": rng.normal(size=7).astype(np.float16),
            "wide": rng.normal(size=4),
            "count": rng.integers(0, 9, size=3),
            "scalar": np.array(rng.normal(), dtype=np.float32),
            "none": np.zeros((0, 2), dtype=np.float32),
        }
        for _ in range(count)
    ]


def own_bytes(record: ArrayRecord) -> ArrayRecord:
    """The same arrays in memory without other users, as a reply is read from pieces."""
    owned = ArrayRecord()
    for name, array in record.items():
        owned[name] = Array(array.dtype, array.shape, array.stype, b"")
        owned[name].data = cast(bytes, memoryview(bytearray(array.data)))
    return owned


@pytest.mark.parametrize("owned", [True, False])
@pytest.mark.parametrize("weights", [[1.0], [2.0], [1.0] * 3, [7.0] * 4, [3.0, 1.0, 2.0, 10.0]])
def test_bit_for_bit_as_of_all_at_once(weights: list[float], owned: bool) -> None:
    whole = models(len(weights))
    expected = {name: np.empty_like(array) for name, array in whole[0].items()}
    for name, out in expected.items():
        mean_into(out, [model[name] for model in whole], weights)
    mean = RunningMean()
    for model, weight in zip(whole, weights, strict=True):
        record = to_record(model)
        mean.add(own_bytes(record) if owned else record, weight)
    assert_same_bits(views(mean.finish()), expected)


def test_bytes_of_others_are_left_alone() -> None:
    first, second = (to_record(model) for model in models(2))
    before = {name: array.data for name, array in first.items()}
    mean = RunningMean()
    mean.add(first, 1.0)
    mean.add(second, 1.0)
    mean.finish()
    assert {name: array.data for name, array in first.items()} == before


def test_memory_that_nobody_else_has_becomes_the_mean() -> None:
    """So one client's model is not copied at all."""
    record = own_bytes(to_record(models(1)[0]))
    mean = RunningMean()
    mean.add(record, 1.0)
    found = mean.finish()
    assert np.shares_memory(views(found)["w"], views(record)["w"])


def test_a_mean_that_overflows_is_not_finite() -> None:
    """max + max is infinite in float32, whatever the division after it."""
    record = to_record({"w": np.full(3, np.finfo(np.float32).max)})
    mean = RunningMean()
    mean.add(record, 1.0)
    mean.add(record, 1.0)
    with pytest.raises(NotFinite):
        mean.finish()
