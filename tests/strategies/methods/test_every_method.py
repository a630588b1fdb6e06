"""What holds for every method, whatever it does: one parametrised test for each promise."""

import re
from collections.abc import Callable, Sized
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord
from numpy.typing import NDArray

from strategies.averaging import Averaging
from strategies.exchange import arrays_of
from strategies.method import Aggregation, carried_name, is_carried
from strategies.methods import METHODS, replies_needed
from strategies.replies import TooFewReplies
from tests.strategies.methods.method_run import (
    START,
    TRAINED,
    Run,
    Weights,
    copied,
    trained_by,
)
from tests.support import (
    MemoryGrid,
    assert_same_bits,
    same_bits,
)
from training.checkpoint import Checkpoint, Progress
from training.config import parse
from training.errors import ConfigError

pytestmark = pytest.mark.usefixtures("flower_task")


SHAPES = {name: (array.dtype, array.shape) for name, array in START.items()}


EVERY = pytest.mark.parametrize("name", METHODS)


OF_MANY = [name for name, method in METHODS.items() if method.least_replies is not None]


# With these a method that leaves clients out, or some of their values, does so.
ONE_FAULTY = {"byzantine-clients": 1, "trimmed-clients": 1}


WITH_A_STEP = pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.server_step is not None]
)


@EVERY
def test_after_a_kill_the_weights_are_the_same(name: str, tmp_path: Path) -> None:
    """Two rounds, a checkpoint on disk, another strategy from it, two more: as four in one go."""
    expected = Run(name).rounds(4)
    killed = Run(name)
    weights = killed.rounds(2)
    Checkpoint(tmp_path).save(Progress(round=2), weights, killed.state())
    killed.round()  # under way when it was killed

    again = Checkpoint(tmp_path)
    done = again.progress().round
    state = again.server_state(done) if killed.method.server_init is not None else None
    assert_same_bits(
        Run(name, done=done, start=again.weights(done), state=state).rounds(2), expected
    )


@EVERY
def test_the_order_of_replies_does_not_matter(name: str) -> None:
    expected = Run(name).rounds(2)
    for order in permutations(range(3)):
        run = Run(name)
        run.round(order=order)
        assert_same_bits(run.round(order=order), expected)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_MANY])
def test_one_client_alone(name: str) -> None:
    """Its own weights are the mean: with no step at the server, they are the next model."""
    run, other = Run(name, clients={5: "client-0"}), Run(name).exchange
    plan = other.train_layout
    received = plan.views(other.first)
    expected = trained_by(0, received)
    if other.step is not None:
        other.step.take(received, expected, round_number=1, replies=[(1.0, run.scalars_of(0))])
    assert_same_bits(run.round(), other.weights(plan.flatten(expected)))


@pytest.mark.parametrize("name", OF_MANY)
def test_one_client_is_refused_where_a_formula_needs_more(name: str) -> None:
    """And so is one less than it needs."""
    keys = {key: ONE_FAULTY[key] for key in METHODS[name].keys}
    least = replies_needed(name, {**parse({}).to_flat(), **keys})
    assert least > 1
    for clients in (1, least - 1):
        said = (
            f"clients = {clients}: strategy = '{name}' with its keys needs {least} replies in "
            "every round"
        )
        with pytest.raises(ConfigError, match=re.escape(said)):
            parse({"strategy": name, "clients": clients, **keys})
    parse({"strategy": name, "clients": least, **keys})


def one_more_than_needed(name: str) -> dict[int, str]:
    """Three clients, or one more than the method's formula needs with one faulty client."""
    needed = replies_needed(name, {**parse({}).to_flat(), **ONE_FAULTY})
    return {7 * (i + 3) % 100: f"client-{i}" for i in range(max(3, needed + 1))}


@EVERY
def test_a_refused_reply_leaves_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if that client had not been asked, but that the method knows that one is absent; the next
    round has all of them again.
    """
    clients = one_more_than_needed(name)
    last = len(clients) - 1
    run = Run(name, clients=clients, keys=ONE_FAULTY)
    found = run.round(refused=last)
    assert run.strategy.replies.failures == {f"client-{last}": "not today"}
    if {*TRAINED} - METHODS[name].local_names(START):
        assert not same_bits(found, Run(name, clients=clients, keys=ONE_FAULTY).round())
    state = copied(run.state())
    run.round()
    assert run.strategy.replies.failures == {}
    monkeypatch.setattr(Averaging, "_share", lambda _: last / (last + 1))
    others = dict(list(clients.items())[:-1])
    alone = Run(name, clients=others, keys=ONE_FAULTY)
    assert_same_bits(found, alone.round())
    assert_same_bits(state, alone.state())


def all_but_one(clients: Sized) -> Callable[[int], list[int]]:
    """The samples of the rounds: without the last client, without the first, the second, ..."""
    number = len(clients)
    return lambda turn: [i for i in range(number) if i != (turn + number - 2) % number]


@EVERY
def test_a_client_that_a_round_does_not_ask_is_to_the_method_as_one_that_refuses(name: str) -> None:
    """But it is no failure, and of the replies that are needed all are there."""
    clients = one_more_than_needed(name)
    last = len(clients) - 1
    run = Run(name, clients=clients, keys=ONE_FAULTY, sample=all_but_one(clients))
    run.strategy.min_replies = last
    found = run.round()
    assert run.strategy.replies.failures == {}
    other = Run(name, clients=clients, keys=ONE_FAULTY)
    assert_same_bits(found, other.round(refused=last))
    assert_same_bits(run.state(), other.state())
    again = run.round(order=range(last)[::-1])
    assert [reply.client for reply in run.strategy.replies.accepted] == list(clients.values())[1:]
    assert_same_bits(again, other.round(refused=0))
    with pytest.raises(TooFewReplies, match=f"round 3: {last - 1} of {last} clients answered"):
        run.round(refused=0)


@EVERY
def test_after_a_kill_the_samples_are_the_same(name: str) -> None:
    clients = one_more_than_needed(name)

    def start(**how: Any) -> Run:
        return Run(name, clients=clients, keys=ONE_FAULTY, sample=all_but_one(clients), **how)

    expected = start().rounds(4)
    run = start()
    weights = run.rounds(2)
    state = copied(run.state()) if run.method.server_init is not None else None
    assert_same_bits(start(done=2, start=weights, state=state).rounds(2), expected)


@EVERY
def test_buffers_and_integers_take_the_mean(name: str) -> None:
    """A step of Adam would make a variance negative, and a counter fractional.

    The mean is what a method has in its place, such as a median.
    """
    run = Run(name)
    without_step = replace(
        run.method, carried=(), server_init=None, server_step=lambda now: (now.mean, {})
    )
    weights = START
    for _ in range(3):
        mean = Run(without_step, start=weights).round()
        weights = run.round()
        assert (weights["bn.running_var"] > 0).all()
        assert {n: (a.dtype, a.shape) for n, a in weights.items()} == SHAPES
        assert_same_bits(
            {n: a for n, a in weights.items() if n not in TRAINED},
            {n: a for n, a in mean.items() if n not in TRAINED},
        )


@EVERY
def test_what_stays_is_neither_sent_back_nor_averaged(name: str) -> None:
    """It travels in its first values, and the server's model has these for ever."""
    run = Run(name)
    stays = run.method.local_names(START)
    (message, *_) = run.strategy.configure_train(1, run.arrays, ConfigRecord(), MemoryGrid({}))
    sent = arrays_of(message.content)
    assert {n for n in sent if not is_carried(n)} == START.keys()
    assert not stays & run.exchange.train_layout.signature.keys()
    found = run.rounds(2)
    for weights in (sent, found):
        assert_same_bits({n: weights[n] for n in stays}, {n: START[n] for n in stays})
    assert all((found[n] != START[n]).any() for n in set(TRAINED) - stays)


@EVERY
def test_what_is_carried_fits_the_trained_weights(name: str) -> None:
    """One array of each kind for each trained one, of its shape, and packed as it is."""
    run = Run(name)
    plan = run.exchange.train_layout.signature
    trained = [n for n in TRAINED if n in plan]
    expected = {carried_name(kind, n) for kind in run.method.carried for n in trained}
    assert {n for n in plan if is_carried(n)} == expected
    for n in expected:
        assert plan[n] == plan[n.partition("/")[2]]
    assert expected <= run.state().keys()


@EVERY
def test_updates_are_clipped_before_the_step(name: str) -> None:
    """With a bound that no update reaches nothing changes; with a small one every value does."""
    free = Run(name).round()
    assert_same_bits(Run(name, clip=100.0).round(), free)
    bounded = Run(name, clip=0.01).round()
    shared = {*TRAINED} - METHODS[name].local_names(START)
    assert not shared or any((bounded[n] != free[n]).any() for n in shared)


@WITH_A_STEP
def test_the_state_is_not_changed_while_a_checkpoint_is_written_from_it(name: str) -> None:
    run = Run(name)
    run.round()
    state = run.state()
    before = copied(state)
    run.round()
    assert_same_bits(state, before)
    if state:
        assert not same_bits(run.state(), before)


@WITH_A_STEP
def test_a_step_that_is_not_finite_fails_the_round(name: str) -> None:
    run = Run(name)
    assert run.exchange.step is not None
    step = METHODS[name].server_step
    assert step is not None

    def spoiled(now: Aggregation) -> tuple[NDArray, Weights]:
        weights, state = step(now)
        return np.full_like(weights, np.nan), state

    run.exchange.step.method = replace(METHODS[name], server_step=spoiled)
    with pytest.raises(TooFewReplies, match=r"^round 1: the server's step gives"):
        run.round()


@WITH_A_STEP
def test_another_models_state_is_refused(name: str) -> None:
    run = Run(name)
    state = run.state()
    damaged: list[Callable[[Weights], Weights]] = [
        lambda state: {**state, "extra/head.weight": np.zeros(1, np.float32)},
    ]
    if state:
        damaged += [
            lambda state: {},
            lambda state: dict(list(state.items())[1:]),
            lambda state: {n: a.reshape(-1)[:1] for n, a in state.items()},
            lambda state: {n: a.astype(np.float16) for n, a in state.items()},
        ]
    for damage in damaged:
        with pytest.raises(ValueError, match=f"is not the server's state of {METHODS[name].title}"):
            Run(name, done=1, state=damage(state))
