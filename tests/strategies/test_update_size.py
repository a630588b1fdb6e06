"""Norm and direction of updates, and the bound on the norm."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from strategies.aggregation import CHUNK
from strategies.arrays import to_record, views, writable
from strategies.update_measures import measure
from strategies.update_size import clip_factor, clipped, describe_updates, warnings
from strategies.update_sketch import Update
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


def test_running_statistics_are_shortened_with_the_weights_they_belong_to() -> None:
    """A norm of √4 over the weights alone, which 1 allows half of; so of the statistics."""
    base = {"bn.weight": np.zeros(4, np.float32), "bn.running_var": np.zeros(3, np.float32)}
    ours = {"bn.weight": np.ones(4, np.float32), "bn.running_var": np.full(3, 8, np.float32)}
    norm = measure(to_record(ours), to_record(base)).norm
    result = views(clipped(to_record(ours), to_record(base), clip_factor(norm, 1.0)))
    assert result["bn.weight"].tolist() == [0.5] * 4
    assert result["bn.running_var"].tolist() == [4.0] * 3


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


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 8.0]), min_size=3, max_size=8))
def test_a_norm_is_compared_with_the_median_of_the_others(norms: list[float]) -> None:
    updates = lengths(*norms)
    found = describe_updates(updates, dict.fromkeys(updates, 1.0))
    for index, client in enumerate(updates):
        median = statistics.median(norms[:index] + norms[index + 1 :])
        assert found[client]["times_median"] == pytest.approx(norms[index] / median)


def test_without_a_length_there_is_no_direction() -> None:
    found = describe_updates(lengths(0.0, 0.0, 0.0), dict.fromkeys(lengths(0, 0, 0), 1.0))
    assert {said["cosine"] for said in found.values()} == {None}
    assert {said["times_median"] for said in found.values()} == {None}


def test_what_is_carried_far_off_is_named_although_no_norm_shows_it() -> None:
    far = {f"client-{i}": Update(1.0, carried=4e6 if i == 1 else 4.0) for i in range(3)}
    assert warnings(far, 5.0) == [
        "the change of what the method carries beside the weights at client-1 (norm 2e+03) is "
        "1,000 times the median of the others'"
    ]


def test_running_statistics_far_off_are_named_although_no_norm_shows_them() -> None:
    far = {
        "client-0": Update(1.0, statistics=4.0),
        "client-1": Update(1.0, statistics=4e6),
        "client-2": Update(1.0, statistics=4.0),
    }
    line = (
        "the change of BatchNorm's running statistics at client-1 (norm 2e+03) is 1,000 times the "
        "median of the others'"
    )
    assert warnings(far, 5.0) == [line]
    del far["client-2"]
    (line,) = warnings(far)
    assert line.endswith(
        "1,000 times that of client-0 (norm 2); with two clients either may be wrong"
    )
