"""Strategies of Flower's own in the place of the mean, against NumPy."""

import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    Krum,
    Strategy,
)
from numpy.typing import NDArray

from strategies.arrays import to_record, view
from strategies.averaging import Averaging
from strategies.flower_mean import FlowerMean
from strategies.layout import LAYOUT, Layout
from strategies.method import FLOWER_COPIES
from strategies.methods import METHODS
from strategies.replies import TooFewReplies
from tests.support import MemoryGrid, answer, assert_same_bits, deliver

pytestmark = pytest.mark.usefixtures("flower_task")

CLIENTS = {30: "client-0", 10: "client-1", 20: "client-2"}
START = {
    "w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "wide": np.full(5, 0.5, np.float64),
    "bn.num_batches_tracked": np.array(7),
}
PLAN = Layout.of(START)
Weights = dict[str, NDArray]
ALL = {"fraction_evaluate": 0.0, "min_available_nodes": 3}


def replied(scale: float = 1.0) -> list[Weights]:
    """What the clients answer; the third moved away ten times as far as the others."""
    found = []
    for client, far in enumerate((1, 1, 10)):
        rng = np.random.default_rng(client)
        found.append(
            {
                "w": (START["w"] + scale * far * rng.normal(size=(3, 4))).astype(np.float32),
                "wide": START["wide"] + scale * far * rng.normal(size=5),
                "bn.num_batches_tracked": np.array(7 + client),
            }
        )
    return found


def round_of(
    flower: Strategy,
    replies: Sequence[Weights],
    *,
    clip: float = 0.0,
    measured: int = 3,
) -> Weights:
    strategy = Averaging(
        clients=CLIENTS,
        constants={LAYOUT: PLAN.record()},
        clip_updates=clip,
        flower=FlowerMean(flower),
    )
    grid = MemoryGrid({node: lambda _: None for node in CLIENTS})
    sent = deliver(strategy.configure_train(1, PLAN.flatten(START), ConfigRecord(), grid))
    answers = []
    for message, weights in zip(sent, replies, strict=True):
        answers.append(answer(message, num_examples=4))
        answers[-1].content["arrays"] = PLAN.flatten(weights)
    result, _ = strategy.aggregate_train(1, iter(answers))
    assert result is not None
    assert len(strategy.updates) == measured
    return PLAN.views(result)


def test_a_resumed_run_tells_the_strategy_its_own_round() -> None:
    """Flower counts from 1 again; a strategy with a schedule would begin again, too."""
    told = []

    class Scheduled(FedAvg):
        def configure_train(self, server_round: int, *_: Any) -> list[Message]:
            told.append(server_round)
            return []

    strategy = Averaging(
        clients=CLIENTS,
        constants={LAYOUT: PLAN.record()},
        rounds_done=3,
        flower=FlowerMean(Scheduled()),
    )
    grid = MemoryGrid({node: lambda _: None for node in CLIENTS})
    strategy.configure_train(1, PLAN.flatten(START), ConfigRecord(), grid)
    assert told == [4]


def test_the_median() -> None:
    """Of every value; counters take the largest, whatever the strategy."""
    replies = replied()
    found = round_of(FedMedian(**ALL), replies)
    expected = {
        name: np.median(np.stack([reply[name] for reply in replies]), axis=0).astype(array.dtype)
        for name, array in START.items()
    }
    expected["bn.num_batches_tracked"] = np.array(9)
    assert_same_bits(found, expected)


def test_krum_takes_the_client_that_has_a_near_neighbour() -> None:
    """The first two are nearer to one another than to the third; the first of equals is taken."""
    replies = replied()
    found = round_of(Krum(**ALL), replies)
    assert_same_bits(found, {**replies[0], "bn.num_batches_tracked": np.array(9)})


def test_a_wrapper_for_differential_privacy_shortens_updates() -> None:
    """To a norm of 0.2 each, and their mean has no noise here; from what the clients received."""
    wrapped = DifferentialPrivacyServerSideFixedClipping(
        FedAvg(**ALL), noise_multiplier=0.0, clipping_norm=0.2, num_sampled_clients=3
    )
    replies = replied()
    found = round_of(wrapped, replies)
    steps = []
    for reply in replies:
        step = np.concatenate([(reply[n] - START[n]).ravel() for n in ("w", "wide")])
        assert np.linalg.norm(step) > 0.4
        steps.append(step * 0.2 / np.linalg.norm(step))
    moved = np.concatenate([(found[n] - START[n]).ravel() for n in ("w", "wide")])
    np.testing.assert_allclose(moved, np.mean(steps, axis=0), rtol=0, atol=1e-6)
    assert {n: (a.dtype, a.shape) for n, a in found.items()} == {
        n: (a.dtype, a.shape) for n, a in START.items()
    }


def test_updates_are_clipped_before() -> None:
    """All to a norm of 0.1, so the median moves by at most the sum of the three."""
    found = round_of(FedMedian(**ALL), replied(), clip=0.1)
    moved = np.concatenate([(found[n] - START[n]).ravel() for n in ("w", "wide")])
    assert 0 < np.linalg.norm(moved) < 0.3


def test_who_is_not_finite_is_refused_first() -> None:
    """The median of the other two is their mean."""
    replies = replied()
    replies[1]["w"] = np.full((3, 4), np.nan, np.float32)
    found = round_of(FedMedian(**ALL), replies, measured=2)
    expected = ((replies[0]["w"] + replies[2]["w"]) / np.float32(2)).astype(np.float32)
    np.testing.assert_allclose(found["w"], expected, rtol=1e-6)
    assert found["bn.num_batches_tracked"] == 9


def test_models_that_are_near_one_another_are_told_apart() -> None:
    """Weights of norm 10⁴, distances below 1: in float32 the square of a distance, from two norms,
    would be nothing but their rounding errors, which are about 10.
    """
    start = np.full(10_000, 100.0, np.float32)
    moves = (0.0, 1e-4, 1.2e-4, 5e-4)  # of each weight; the third is the nearest to two others
    sent = [to_record({"w": (start + np.float32(move)).astype("f4")}) for move in moves]
    mean = FlowerMean(METHODS["krum"].flower({"byzantine-clients": 0}))
    for record in sent:
        mean.add(record, 1.0)
    found = mean.finish()
    values = [float(view(record["w"])[0]) for record in sent]
    scores = [sum(sorted((a - b) ** 2 for b in values)[1:3]) for a in values]
    assert view(found["w"])[0] == values[int(np.argmin(scores))]


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.flower])
def test_the_memory_of_flowers_strategies_is_known(name: str) -> None:
    size, number = 50_000, 7
    rng = np.random.default_rng(0)
    sent = [to_record({"w": rng.normal(size=size).astype("f4")}) for _ in range(number)]
    mean = FlowerMean(METHODS[name].flower({"byzantine-clients": 1, "trimmed-clients": 1}))
    for record in sent:
        mean.add(record, 1.0)
    tracemalloc.start()
    try:
        mean.finish()
        copies = tracemalloc.get_traced_memory()[1] / (4 * size * number)
    finally:
        tracemalloc.stop()
    assert FLOWER_COPIES - 3 < copies < FLOWER_COPIES


class Nothing(FedAvg):
    """A strategy to which no replies are enough."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[None, None]:
        return None, None


def test_a_strategy_that_makes_nothing_fails_the_round() -> None:
    """Flower's loop would continue with the old weights."""
    with pytest.raises(TooFewReplies, match=r"^round 1: Flower's Nothing makes no model of 3"):
        round_of(Nothing(**ALL), replied())
