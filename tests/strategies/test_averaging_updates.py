"""Updates in a round: recorded, reported, bounded, and refused if not finite."""

from itertools import permutations

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from strategies.averaging import Averaging
from strategies.layout import LAYOUT, Layout
from strategies.replies import TooFewReplies
from tests.support import MemoryGrid, answer, assert_same_bits, deliver

pytestmark = pytest.mark.usefixtures("flower_task")

CLIENTS = {30: "client-0", 10: "client-1", 20: "client-2"}
START = {
    "layer1.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "layer2.weight": np.full(5, 0.5, np.float64),
    "bn.running_mean": np.zeros(3, np.float32),
    "counter": np.array(7),
}
PLAN = Layout.of(START)
Weights = dict[str, NDArray]
# ‖START‖: twelve steps of 2/11 from −1 to 1 have 4.727 as their sum of squares, five halves 1.25.
TOO_LONG = (
    "its update (norm {}) is longer than 2.44e+03, 1,000 times the norm of what it was sent, "
    "or of 1"
)


def moved(by: float) -> Weights:
    """17 weights, each moved by a number: the norm is √17 times it."""
    return {n: a + np.array(by, a.dtype) if "weight" in n else a for n, a in START.items()}


def spoiled(name: str, value: float = np.nan) -> Weights:
    weights = {n: a.copy() for n, a in moved(0.1).items()}
    weights[name].reshape(-1)[-1] = value
    return weights


def strategy_of(
    min_replies: int = 3, clip: float = 0.0, earlier: tuple[str, ...] = ()
) -> Averaging:
    return Averaging(
        clients=CLIENTS,
        min_replies=min_replies,
        constants={LAYOUT: PLAN.record()},
        clip_updates=clip,
        earlier=earlier,
    )


def round_of(strategy: Averaging, *trained: Weights | str) -> Weights:
    """Each client answers with weights, or with an error."""
    arrays = PLAN.flatten(START)
    sent = deliver(strategy.configure_train(1, arrays, ConfigRecord(), MemoryGrid({})))
    replies = []
    for message, weights in zip(sent, trained, strict=True):
        if isinstance(weights, str):
            error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, weights)
            replies.append(Message(error, reply_to=message))
        else:
            replies.append(answer(message, num_examples=4))
            replies[-1].content["arrays"] = PLAN.flatten(weights)
    result, _ = strategy.aggregate_train(1, iter(replies))
    assert result is not None
    return PLAN.views(result)


def test_each_update_has_its_length_and_its_direction() -> None:
    """0.1, 0.2 and −0.2 in each of 17 places: the mean, 1/30, points as the first two do."""
    strategy = strategy_of()
    round_of(strategy, moved(0.1), moved(0.2), moved(-0.2))
    norms = [strategy.updates[client]["norm"] for client in CLIENTS.values()]
    assert norms == pytest.approx([0.1 * 17**0.5, 0.2 * 17**0.5, 0.2 * 17**0.5], rel=1e-6)
    cosines = [strategy.updates[client]["cosine"] for client in CLIENTS.values()]
    assert cosines == pytest.approx([1, 1, -1], abs=1e-5)
    assert strategy.warnings == []


def test_an_update_a_thousand_times_too_long_is_named_at_once() -> None:
    strategy = strategy_of()
    round_of(strategy, moved(0.1), moved(100.0), moved(0.1))
    (line,) = strategy.warnings
    assert line == "the update of client-1 (norm 412) is 1,000 times the median of the others'"
    assert strategy.updates["client-1"]["times_median"] == pytest.approx(1000, rel=1e-4)


def test_a_bound_leaves_an_attacker_no_more_than_the_others() -> None:
    """√17 · 0.2 is allowed: 0.1 passes as it is, 100 counts as 0.2; (0.1 + 0.2 + 0.1) / 3."""
    strategy = strategy_of(clip=0.2 * 17**0.5)
    found = round_of(strategy, moved(0.1), moved(100.0), moved(0.1))
    np.testing.assert_allclose(found["layer1.weight"] - START["layer1.weight"], 0.4 / 3, rtol=1e-5)
    assert found["counter"] == 7
    assert [said["clipped"] for said in strategy.updates.values()] == [False, True, False]
    assert strategy.updates["client-1"]["norm"] == pytest.approx(100 * 17**0.5, rel=1e-5)
    assert strategy.warnings[0].endswith("; clip-updates bounds it to 0.825")


def test_a_bound_that_nobody_reaches_changes_no_bit() -> None:
    trained = moved(0.1), moved(0.2), moved(-0.3)
    free = round_of(strategy_of(), *trained)
    assert_same_bits(round_of(strategy_of(clip=99.0), *trained), free)


def test_running_statistics_far_off_are_named_and_no_part_of_the_norm() -> None:
    strategy = strategy_of()
    good, bad = spoiled("bn.running_mean", 1.0), spoiled("bn.running_mean", 500.0)
    round_of(strategy, good, bad, good)
    assert strategy.updates["client-1"]["norm"] == pytest.approx(0.1 * 17**0.5, rel=1e-6)
    assert strategy.warnings == [
        "the change of BatchNorm's running statistics at client-1 (norm 500) is 500 times the "
        "median of the others'"
    ]


@pytest.mark.parametrize(
    "name, value, said",
    [
        # The array is one of the model's, not the long one in which it travels.
        ("layer1.weight", np.nan, "its array 'layer1.weight' holds NaN or infinity"),
        ("layer2.weight", np.inf, "its array 'layer2.weight' holds NaN or infinity"),
        ("bn.running_mean", np.nan, "its array 'bn.running_mean' holds NaN or infinity"),
        ("layer2.weight", 1e200, "its update is too large to be measured"),  # its square overflows
        ("layer1.weight", 1e30, TOO_LONG.format("1e+30")),
        ("layer1.weight", -3e38, TOO_LONG.format("3e+38")),
        ("counter", 6, "its array 'counter' counts steps that no round has"),
        ("counter", 2**62, "its array 'counter' counts steps that no round has"),
    ],
)
def test_weights_that_no_training_makes_cost_their_client_the_round(
    name: str, value: float, said: str
) -> None:
    """The mean is that of the other two."""
    strategy = strategy_of(min_replies=2)
    wrong = spoiled(name, value)
    result = round_of(strategy, moved(0.1), wrong, moved(0.1))
    assert_same_bits(result, moved(0.1))
    assert strategy.replies.failures == {"client-1": said}
    assert strategy.updates.keys() == {"client-0", "client-2"}


@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_whom_it_costs_the_round_depends_on_no_order_and_on_no_other_update(clip: float) -> None:
    """Even where the enormous are more than the others, and the mean of all would overflow."""
    models = {"client-0": moved(1e30), "client-1": moved(0.1), "client-2": moved(3e38)}
    for names in permutations(models):
        strategy = strategy_of(min_replies=1, clip=clip)
        result = round_of(strategy, *(models[n] for n in names))
        kept = CLIENTS[list(CLIENTS)[names.index("client-1")]]
        assert list(strategy.updates) == [kept]
        assert strategy.replies.failures.keys() == set(CLIENTS.values()) - {kept}
        alone = round_of(strategy_of(min_replies=1, clip=clip), moved(0.1), "away", "away")
        assert_same_bits(result, alone)


def test_float64_whose_sum_overflows_costs_its_clients_the_round() -> None:
    """1.7·10³⁰⁸ is finite, twice that is not; not that the training has diverged."""
    strategy = strategy_of(min_replies=1)
    wrong = spoiled("layer2.weight", 1.7e308)
    result = round_of(strategy, wrong, moved(0.1), wrong)
    assert_same_bits(result, moved(0.1))
    said = "its update is too large to be measured"
    assert strategy.replies.failures == {"client-0": said, "client-2": said}


def test_what_no_training_makes_is_named_beside_the_others_errors() -> None:
    """And it does not count as a reply, although min-replies fails before any mean."""
    strategy = strategy_of(min_replies=2)
    with pytest.raises(TooFewReplies) as caught:
        round_of(
            strategy,
            "TrainingError: the training loss became nan",
            spoiled("layer1.weight"),
            spoiled("layer1.weight", 1e30),
        )
    assert str(caught.value) == (
        'round 1: 0 of 3 clients answered, but min-replies = 2 (client-0: "TrainingError: the '
        'training loss became nan"; client-1: "its array \'layer1.weight\' holds NaN or infinity"; '
        f'client-2: "{TOO_LONG.format("1e+30")}")'
    )


def test_what_came_before_is_looked_at_before_the_victims() -> None:
    """All three fail on a model that one of them spoiled a round before."""
    strategy = strategy_of(min_replies=2, earlier=("round 7: the update of client-9 is odd",))
    round_of(strategy, moved(0.1), moved(500.0), moved(0.1))
    nan = "TrainingError: the training loss became nan, after 1e+05; try a smaller learning-rate"
    with pytest.raises(TooFewReplies) as caught:
        round_of(strategy, nan, nan, nan)
    assert str(caught.value).endswith(
        "; look at this first: round 7: the update of client-9 is odd; round 1: the update of "
        "client-1 (norm 2.06e+03) is 5,000 times the median of the others'"
    )


def test_who_is_only_away_has_nothing_to_do_with_it() -> None:
    strategy = strategy_of(min_replies=3, earlier=("round 7: the update of client-9 is odd",))
    with pytest.raises(TooFewReplies) as caught:
        round_of(strategy, moved(0.1), "its connection was lost", moved(0.1))
    assert "look at this" not in str(caught.value)


def test_replies_and_global_weights_are_let_go() -> None:
    strategy = strategy_of(clip=0.1)
    round_of(strategy, moved(0.1), moved(5.0), moved(0.1))
    assert all(not reply.record for reply in strategy.replies.accepted)
    assert not strategy._base
