"""Norm and direction of updates, and the bound on the norm."""

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies.aggregation import CHUNK
from strategies.arrays import to_record, views, writable
from strategies.running_mean import RunningMean
from strategies.update_size import (
    Update,
    clip_factor,
    clipped,
    describe,
    mean_and_updates,
    measure,
    norm_of,
    warnings,
)
from tests.support import assert_same_bits

Weights = dict[str, NDArray]


def model(seed: int, size: int = 3 * CHUNK + 17) -> Weights:
    """More values than are worked on at a time, and a share more than one block."""
    rng = np.random.default_rng(seed)
    return {
        "w": rng.normal(size=size).astype(np.float32),
        "bias": rng.normal(size=5).astype(np.float64),
        "half": rng.normal(size=(3, 2)).astype(np.float16),
        "counter": np.array(seed),
    }


def flat(weights: Weights, base: Weights) -> NDArray[np.float64]:
    """The update, in float64, by definition."""
    floats = [name for name in weights if weights[name].dtype.kind == "f"]
    return np.concatenate(
        [(weights[n].astype(np.float64) - base[n].astype(np.float64)).ravel() for n in floats]
    )


BASE = model(0)


def test_norms_and_cosines_are_those_of_the_updates() -> None:
    """The norm to 10⁻⁶; the cosine of sketches of 16,384 places to 5 · 0.008."""
    moved = [{n: a + model(s)[n] for n, a in BASE.items()} for s in (1, 2, 3)]
    moved[2]["w"] = BASE["w"] - moved[0]["w"] + BASE["w"]  # against the first
    exact = [flat(one, BASE) for one in moved]
    mean = sum(weight * update for weight, update in zip((1.0, 2.0, 1.0), exact, strict=True))
    updates = {f"client-{i}": measure(to_record(m), to_record(BASE)) for i, m in enumerate(moved)}
    found = describe(updates, {"client-0": 1.0, "client-1": 2.0, "client-2": 1.0})
    for client, update in zip(updates, exact, strict=True):
        said = found[client]
        assert said["norm"] == pytest.approx(np.linalg.norm(update), rel=1e-6)
        cosine = update @ mean / np.linalg.norm(update) / np.linalg.norm(mean)
        assert said["cosine"] == pytest.approx(cosine, abs=0.04)
        assert said["clipped"] is False


def test_the_norm_of_a_model_is_that_of_all_its_floats() -> None:
    zero = {name: np.zeros_like(array) for name, array in BASE.items()}
    exact = np.linalg.norm(flat(BASE, zero))
    assert norm_of(to_record(BASE)) == pytest.approx(exact, rel=1e-12)
    far = {"w": np.full(4, 1e30, np.float32)}
    assert norm_of(to_record(far)) == pytest.approx(2e30, rel=1e-6)


def test_energy_in_few_places_is_seen_as_well() -> None:
    """As of BatchNorm's running variances: some hundred values hold nearly all of it."""
    far = {n: a.copy() for n, a in BASE.items()}
    far["w"][1000:1500] += 100
    near = {n: a.copy() for n, a in BASE.items()}
    near["w"][1000:1500] += 50
    other = {n: a.copy() for n, a in BASE.items()}
    other["w"][-500:] -= 100
    base = to_record(BASE)
    models = {"a": far, "b": near, "c": other}
    updates = {name: measure(to_record(weights), base) for name, weights in models.items()}
    found = describe(updates, dict.fromkeys("abc", 1.0))
    # a and b add up to 150 in their 500 places, c stands alone in its own with −100.
    assert found["a"]["cosine"] == pytest.approx(150 / np.hypot(150, 100), abs=0.04)
    assert found["c"]["cosine"] == pytest.approx(100 / np.hypot(150, 100), abs=0.04)


def test_both_ways_of_averaging_find_the_same_to_the_bit() -> None:
    """All in memory, as a simulation has them, and one after the other, as a deployment."""
    records = [to_record(model(seed)) for seed in (1, 2, 3)]
    weights = [3.0, 1.0, 2.0]
    together, found = mean_and_updates(records, weights, to_record(BASE))
    mean = RunningMean()
    for record, weight, update in zip(records, weights, found, strict=True):
        alone = measure(record, to_record(BASE))
        assert (alone.square, alone.sketch.tobytes()) == (update.square, update.sketch.tobytes())
        mean.add(record, weight)
    assert_same_bits(views(mean.finish()), views(together))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_length(value: float) -> None:
    broken = {n: a.copy() for n, a in model(1).items()}
    broken["w"][-1] = value
    assert not np.isfinite(measure(to_record(broken), to_record(BASE)).square)


def test_a_length_beyond_float32s_squares_is_told_all_the_same() -> None:
    """10³⁰ in each of 100 values: the norm is 10³¹, its square 10⁶²."""
    base = {"w": np.zeros(100, np.float32)}
    far = {"w": np.full(100, 1e30, np.float32)}
    assert measure(to_record(far), to_record(base)).norm == pytest.approx(1e31, rel=1e-6)


@pytest.mark.parametrize("writable_bytes", [True, False])
def test_a_clipped_update_has_the_length_that_is_allowed_and_its_direction(
    writable_bytes: bool,
) -> None:
    trained, base = to_record(model(1)), to_record(BASE)
    if writable_bytes:
        for name, array in list(trained.items()):
            trained[name] = writable(array)
    long = flat(model(1), BASE)
    norm = measure(trained, base).norm
    result = clipped(trained, base, clip_factor(norm, 2.0))
    short = flat(views(result), BASE)
    assert measure(result, base).norm == pytest.approx(2.0, rel=1e-3)  # of float16's rounding
    assert short @ long / np.linalg.norm(short) / np.linalg.norm(long) > 0.999
    assert views(result)["counter"] == 1
    if not writable_bytes:
        assert_same_bits(views(trained), model(1))


def test_a_clipped_update_as_long_as_float32_goes_is_finite() -> None:
    """The difference of two such values is not a finite float32."""
    most = float(np.finfo(np.float32).max)
    base = to_record({"w": np.full(10, -most, np.float32)})
    record = to_record({"w": np.full(10, most, np.float32)})
    norm = measure(record, base).norm
    assert norm == pytest.approx(2 * most * np.sqrt(10), rel=1e-6)
    result = clipped(record, base, clip_factor(norm, 1.0))
    assert np.isfinite(views(result)["w"]).all()


@pytest.mark.parametrize(
    "norm, most, factor", [(5.0, 0.0, 1.0), (5.0, 5.0, 1.0), (5.0, 2.0, 0.4), (0.0, 2.0, 1.0)]
)
def test_what_is_short_enough_is_left_alone(norm: float, most: float, factor: float) -> None:
    assert clip_factor(norm, most) == factor


def lengths(*norms: float) -> dict[str, Update]:
    return {f"client-{i}": Update(norm**2) for i, norm in enumerate(norms)}


@pytest.mark.parametrize(
    "norms, named",
    [
        ((1.0, 1.1, 1000.0), ["client-2"]),
        ((1.0, 1.1, 9.0), []),  # 8.6 times the median of 1 and 1.1
        ((1.0, 1.0, 1.0, 11.0), ["client-3"]),
        ((1.0, 1.0, 100.0, 200.0), ["client-2", "client-3"]),
        ((0.0, 0.0, 1.0), ["client-2"]),
        ((0.0, 0.0, 0.0), []),
        ((1.0,), []),
        ((), []),
    ],
)
def test_an_update_far_longer_than_the_others_is_named(
    norms: tuple[float, ...], named: list[str]
) -> None:
    """Of four, two of them malicious, the median of the others, (1, 1, 200), is still a valid
    one's.
    """
    found = warnings(lengths(*norms))
    assert [line.split(" ")[3] for line in found] == named


def test_of_two_it_cannot_be_said_which_is_wrong() -> None:
    (line,) = warnings(lengths(2.0, 2000.0))
    assert line == (
        "the update of client-1 (norm 2e+03) is 1,000 times that of client-0 (norm 2); with two "
        "clients either may be wrong"
    )
    assert warnings(lengths(2.0, 20.0)) == []


def test_a_bound_is_told_with_the_warning() -> None:
    (line,) = warnings(lengths(1.0, 1.0, 50.0), 5.0)
    assert line.endswith("is 50 times the median of the others'; clip-updates bounds it to 5")


def test_without_a_length_there_is_no_direction() -> None:
    found = describe(lengths(0.0, 0.0, 0.0), dict.fromkeys(lengths(0, 0, 0), 1.0))
    assert {said["cosine"] for said in found.values()} == {None}
    assert {said["times_median"] for said in found.values()} == {None}
