"""Measuring updates, and what is left out."""

import numpy as np
import pytest
from flwr.app import ArrayRecord

from strategies import aggregation
from strategies.aggregation import CHUNK
from strategies.arrays import to_record
from strategies.layout import Layout
from strategies.update_measures import measure, norm_of
from strategies.update_size import describe_updates
from strategies.update_sketch import Update
from tests.strategies.test_update_size import BASE, Weights, flat, model


def test_norms_and_cosines_are_those_of_the_updates() -> None:
    """The norm to 10⁻⁶; the cosine of sketches of 16,384 places to 5 · 0.008."""
    moved = [{n: a + model(s)[n] for n, a in BASE.items()} for s in (1, 2, 3)]
    moved[2]["w"] = BASE["w"] - moved[0]["w"] + BASE["w"]  # against the first
    exact = [flat(one, BASE) for one in moved]
    mean = sum(weight * update for weight, update in zip((1.0, 2.0, 1.0), exact, strict=True))
    updates = {f"client-{i}": measure(to_record(m), to_record(BASE)) for i, m in enumerate(moved)}
    found = describe_updates(updates, {"client-0": 1.0, "client-1": 2.0, "client-2": 1.0})
    for client, update in zip(updates, exact, strict=True):
        said = found[client]
        assert said["norm"] == pytest.approx(np.linalg.norm(update), rel=1e-6)
        cosine = update @ mean / np.linalg.norm(update) / np.linalg.norm(mean)
        assert said["cosine"] == pytest.approx(cosine, abs=0.04)
        assert said["clipped"] is False


def test_energy_in_few_places_is_seen_as_well() -> None:
    """Some hundred values hold nearly all of it."""
    far = {n: a.copy() for n, a in BASE.items()}
    far["w"][1000:1500] += 100
    near = {n: a.copy() for n, a in BASE.items()}
    near["w"][1000:1500] += 50
    other = {n: a.copy() for n, a in BASE.items()}
    other["w"][-500:] -= 100
    base = to_record(BASE)
    models = {"a": far, "b": near, "c": other}
    updates = {name: measure(to_record(weights), base) for name, weights in models.items()}
    found = describe_updates(updates, dict.fromkeys("abc", 1.0))
    # a and b add up to 150 in their 500 places, c stands alone in its own with −100.
    assert found["a"]["cosine"] == pytest.approx(150 / np.hypot(150, 100), abs=0.04)
    assert found["c"]["cosine"] == pytest.approx(100 / np.hypot(150, 100), abs=0.04)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_of_any_length_the_direction_is_kept_and_little_else(scale: float) -> None:
    """A round keeps that of every client: 33 kB, of a model of any size."""
    base = to_record({"w": np.zeros(100_000, np.float32)})
    changes = np.random.default_rng(0).normal(scale=scale, size=(2, 100_000)).astype(np.float32)
    updates = {
        name: measure(to_record({"w": w}), base) for name, w in zip("ab", changes, strict=True)
    }
    assert updates["a"].direction.nbytes < 33_000
    found = describe_updates(updates, dict.fromkeys("ab", 1.0))
    # Of two random updates of equal length, each is 45 degrees from their mean.
    assert found["a"]["cosine"] == pytest.approx(0.5**0.5, abs=0.03)


def same_bits(one: Update, other: Update) -> bool:
    return (one.square, one.statistics, one.direction.tobytes()) == (
        other.square,
        other.statistics,
        other.direction.tobytes(),
    )


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts of an array and a bit: more than one thread's share."""
    ours, base = (to_record(model(seed, 33 * CHUNK + 17)) for seed in (1, 0))
    first = measure(ours, base)
    for number in (1, 2, 5):
        monkeypatch.setattr(aggregation, "cpu_count", lambda: number)  # noqa: B023
        assert same_bits(measure(ours, base), first)


BATCHNORM = {
    "conv.weight": np.zeros((700, 400), np.float32),  # more than a block
    "bn.weight": np.ones(5, np.float32),
    "bn.running_mean": np.zeros(5, np.float32),
    "bn.running_var": np.ones(5, np.float32),
    "bn.num_batches_tracked": np.array(0),
    "fc.weight": np.zeros((2, 5), np.float32),
}


def trained(statistics: float) -> Weights:
    """Each weight moved by one, each running statistic by a number."""
    return {
        name: array + np.array(statistics if "running" in name else 1, array.dtype)
        for name, array in BATCHNORM.items()
    }


@pytest.mark.parametrize("concatenated", [True, False])
def test_batchnorms_running_statistics_count_neither_in_norm_nor_in_cosine(
    concatenated: bool,
) -> None:
    """700·400 + 5 + 2·5 values are weights, 2·5 statistics."""
    layout = Layout.of(BATCHNORM)

    def record(weights: Weights) -> ArrayRecord:
        return layout.flatten(weights) if concatenated else to_record(weights)

    names = layout if concatenated else None
    still, far = (measure(record(trained(by)), record(BATCHNORM), names) for by in (0.0, 1000.0))
    assert far.norm == pytest.approx(280_015**0.5, rel=1e-6)
    assert far.square == still.square
    assert far.direction.tobytes() == still.direction.tobytes()
    assert (still.statistics_norm, far.statistics_norm) == (0, pytest.approx(1000 * 10**0.5))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["bn.running_mean", "fc.weight"])
def test_a_statistic_that_is_not_finite_is_seen_as_a_weight_is(name: str, value: float) -> None:
    layout, bad = Layout.of(BATCHNORM), trained(1.0)
    bad[name].reshape(-1)[0] = value
    update = measure(layout.flatten(bad), layout.flatten(BATCHNORM), layout)
    assert not update.is_finite


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


def test_the_norm_of_a_model_is_that_of_all_its_floats() -> None:
    zero = {name: np.zeros_like(array) for name, array in BASE.items()}
    exact = np.linalg.norm(flat(BASE, zero))
    assert norm_of(to_record(BASE)) == pytest.approx(exact, rel=1e-12)
    far = {"w": np.full(4, 1e30, np.float32)}
    assert norm_of(to_record(far)) == pytest.approx(2e30, rel=1e-6)


def test_the_norm_of_a_model_is_without_running_statistics() -> None:
    """Five weights of one; the variances are one as well, and do not count."""
    layout = Layout.of(BATCHNORM)
    assert norm_of(layout.flatten(BATCHNORM), layout) == pytest.approx(5**0.5)


CARRYING = {"w": np.full(4, 3.0, np.float32), "c/w": np.full(4, 2.0, np.float32)}


@pytest.mark.parametrize("concatenated", [True, False])
def test_what_is_carried_is_measured_apart(concatenated: bool) -> None:
    """w moves by 1 and what is carried by 10 in four values each: norms of 2 and 20."""
    layout = Layout.of(CARRYING)
    moved = {"w": CARRYING["w"] + 1, "c/w": CARRYING["c/w"] + 10}
    record = layout.flatten if concatenated else to_record
    plan = layout if concatenated else None
    update = measure(record(moved), record(CARRYING), plan)
    assert (update.norm, update.carried_norm, update.statistics) == (2.0, 20.0, 0.0)
    alone = {"w": CARRYING["w"]}
    expected = measure(to_record({"w": moved["w"]}), to_record(alone))
    assert update.direction.tobytes() == expected.direction.tobytes()
    assert norm_of(record(CARRYING), plan) == norm_of(to_record(alone)) == 6.0
    assert norm_of(record(CARRYING), plan, carried=True) == 4.0
