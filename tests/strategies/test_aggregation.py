"""The mean of models that are added one after the other."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from numpy.typing import DTypeLike, NDArray

from strategies import aggregation
from strategies.aggregation import NotFinite, RunningMean
from strategies.arrays import to_record, views
from tests.support import assert_same_bits

SMALL_CHUNK = 4


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Ignore warnings of intended overflows."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "CHUNK", SMALL_CHUNK)
    monkeypatch.setattr(aggregation, "_SHARE", SMALL_CHUNK)


def mean(arrays: Sequence[NDArray], weights: Sequence[float] | None = None) -> NDArray:
    running = RunningMean()
    for array, weight in zip(arrays, weights or [1.0] * len(arrays), strict=True):
        running.add(to_record({"x": array}), weight)
    return views(running.finish())["x"]


def draw(count: int, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> list[NDArray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("weights", [None, [1.0, 5.0, 2.0, 0.0, 1234.0]])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_mean_is_that_in_float64(dtype: DTypeLike, weights: list[float] | None) -> None:
    """For M terms each of at most M products, M − 1 sums and the quotient rounds by half an ulp
    of the sum's dtype; the result's own dtype rounds once more.
    """
    arrays = draw(5, (3, 7, 11), dtype)
    exact = np.average([a.astype(np.float64) for a in arrays], axis=0, weights=weights)
    largest = np.max([np.abs(a.astype(np.float64)) for a in arrays])
    wide = np.result_type(dtype, np.float32)
    rounding = 2 * 5 * np.finfo(wide).eps / 2 * largest + np.finfo(dtype).eps / 2 * largest
    found = mean(arrays, weights)
    assert found.dtype == dtype
    assert np.abs(found - exact).max() <= rounding
    assert np.abs(exact).max() > 1000 * rounding or dtype == np.float16


def test_equal_weights_worked() -> None:
    """(1 + 2 + 6)/3 = 3, whatever the weight that all have."""
    arrays = [np.array([x], dtype=np.float32) for x in (1, 2, 6)]
    assert mean(arrays).item() == mean(arrays, [20.0] * 3).item() == 3.0


def test_weights_worked() -> None:
    """(1·1 + 1·2 + 2·6)/4 = 3.75."""
    arrays = [np.array([x], dtype=np.float32) for x in (1, 2, 6)]
    assert mean(arrays, [1.0, 1.0, 2.0]).item() == 3.75


def test_sums_are_taken_in_the_given_order_in_float32() -> None:
    """((2²⁴ + 1) − 2²⁴)/3 = 0, as 2²⁴ + 1 is 2²⁴ in float32; with the 1 last it is 1/3."""
    big = np.float32(2**24)
    terms = [np.array([x], dtype=np.float32) for x in (big, 1, -big)]
    assert mean(terms).item() == 0.0
    assert mean([terms[0], terms[2], terms[1]]).item() == np.float32(1) / np.float32(3)
    arrays = draw(3, (1000,))
    results = set()
    for first, second, third in permutations(arrays):
        expected = ((first + second) + third) / np.float32(3)
        assert mean([first, second, third]).tobytes() == expected.tobytes()
        results.add(expected.tobytes())
    assert len(results) > 1  # which is why the order is fixed


def test_float16_is_summed_in_float32() -> None:
    """60000 + 60000 is infinite in float16; 2048 + 1 + 1 would stay 2048 there."""
    assert mean([np.array([60000], np.float16)] * 2).item() == 60000
    terms = [np.array([x], np.float16) for x in (2048, 1, 1)]
    assert mean(terms).item() == np.float16(2050 / 3)


@pytest.mark.parametrize("weight", [1.0, 7.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_mean_of_one_is_itself_bit_for_bit(dtype: DTypeLike, weight: float) -> None:
    info = np.finfo(dtype)
    values = [0.0, -0.0, 1 / 3, info.max, -info.max, info.tiny, info.smallest_subnormal, 1.0]
    array = np.array(values, dtype=dtype)
    assert mean([array], [weight]).tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_mean_of_equal_models_is_that_model(dtype: DTypeLike) -> None:
    """With M = 2 and 4 the sums only shift the exponent, so that nothing is rounded."""
    (array,) = draw(1, (50,), dtype)
    for count in (2, 4):
        assert mean([array] * count).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "values, expected",
    [
        ([np.array([3, 4]), np.array([3, 4])], [3, 4]),  # counters that agree are kept
        ([np.array([3, 9]), np.array([5, 2]), np.array([4, 4])], [5, 9]),
        ([np.array(7), np.array(8)], 8),
        ([np.array([2**62 + 1]), np.array([2**62])], [2**62 + 1]),  # a float would lose the 1
        ([np.array([-5], np.int8), np.array([-7], np.int8)], [-5]),
        ([np.array([200], np.uint8), np.array([100], np.uint8)], [200]),
        ([np.array([True, False]), np.array([False, False])], [True, False]),
    ],
)
def test_integers_stay_integers(values: list[NDArray], expected: object) -> None:
    found = mean(values, [float(n) for n in range(1, len(values) + 1)])
    assert found.dtype == values[0].dtype
    assert found.tolist() == expected


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 7, 8, 9, 12, 13])
def test_sizes_around_the_pieces(size: int, weights: list[float] | None, dtype: DTypeLike) -> None:
    """Piece by piece is, bit for bit, the whole at once."""
    arrays = draw(3, (size,), dtype)
    wide = np.result_type(dtype, np.float32).type
    factors = [wide(weight) for weight in weights or [1.0, 1.0, 1.0]]
    total = arrays[0].astype(wide) * factors[0]
    for array, factor in zip(arrays[1:], factors[1:], strict=True):
        total = total + array.astype(wide) * factor
    expected = (total / sum(factors)).astype(dtype)
    assert mean(arrays, weights).tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3)])
def test_every_number_of_dimensions(shape: tuple[int, ...]) -> None:
    found = mean([np.full(shape, x, np.float32) for x in (1, 4)])
    assert found.shape == shape
    assert (found == 2.5).all()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_anywhere_is_found(bad: float, dtype: DTypeLike) -> None:
    """In every place, so also first and last, and on both sides of the pieces' borders."""
    size = 2 * SMALL_CHUNK + 1
    for place in range(size):
        for client in range(2):
            arrays = draw(2, (size,), dtype)
            arrays[client][place] = bad
            with np.errstate(invalid="ignore"), pytest.raises(NotFinite):
                mean(arrays)


def test_opposite_infinities_are_found() -> None:
    arrays = [np.array([np.inf, 1], np.float32), np.array([-np.inf, 1], np.float32)]
    with np.errstate(invalid="ignore"), pytest.raises(NotFinite):
        mean(arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_finite_values_are_accepted_although_their_sum_overflows(dtype: DTypeLike) -> None:
    """The mean of two times max/4 is max/4, but the sum of the eight means is twice max."""
    large = np.full(8, np.finfo(dtype).max / 4, dtype=dtype)
    assert np.array_equal(mean([large, large]), large)
    opposite = large * np.array([1, -1] * 4, dtype=dtype)
    assert np.array_equal(mean([opposite]), opposite)


def test_a_mean_that_overflows_itself_is_not_finite() -> None:
    """max + max is infinite in float32, whatever the division after it."""
    large = np.full(3, np.finfo(np.float32).max)
    with np.errstate(over="ignore"), pytest.raises(NotFinite):
        mean([large, large])


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


@pytest.mark.parametrize("weights", [[1.0], [2.0], [1.0] * 3, [7.0] * 4, [3.0, 1.0, 2.0, 10.0]])
def test_whoever_has_the_bytes_the_mean_is_the_same_to_the_bit(weights: list[float]) -> None:
    found = []
    for owned in (True, False):
        mean = RunningMean()
        for model, weight in zip(models(len(weights)), weights, strict=True):
            record = to_record(model)
            mean.add(own_bytes(record) if owned else record, weight)
        found.append(views(mean.finish()))
    assert_same_bits(*found)


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
