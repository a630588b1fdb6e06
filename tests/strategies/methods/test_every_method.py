"""What holds for every method, whatever it does: one parametrised test for each promise.

Clients here answer with numbers that depend on what they received, so that a wrong state or a wrong
start of a round changes everything after it.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from strategies.averaging import Averaging
from strategies.layout import LAYOUT, Layout
from strategies.methods import DEFAULT, KEYS, METHODS
from strategies.replies import TooFewReplies
from strategies.server_step import ServerStep
from tests.support import MemoryGrid, answer, assert_same_bits, deliver, same_bits
from training.checkpoint import Checkpoint, Progress
from training.config import DEFAULTS, parse

pytestmark = pytest.mark.usefixtures("flower_task")

ROOT = Path(__file__).parents[3]
CLIENTS = {30: "client-0", 10: "client-1", 20: "client-2"}
# BatchNorm's statistics and counter, and a table of indices, are not trained.
TRAINED = ("head.weight", "head.bias", "scale")
START: dict[str, NDArray] = {
    "head.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "head.bias": np.array([0.5, -0.25], np.float64),
    "scale": np.array(2.0, np.float32),
    "bn.running_mean": np.array([0.25, -1.0], np.float32),
    "bn.running_var": np.array([1.0, 1e-3], np.float32),
    "bn.num_batches_tracked": np.array(7),
    "table": np.arange(4),
}
PLAN = Layout.of(START)
SHAPES = {name: (array.dtype, array.shape) for name, array in START.items()}
Weights = dict[str, NDArray]
WAYS = pytest.mark.parametrize("one_by_one", [False, True], ids=["in memory", "one by one"])
EVERY = pytest.mark.parametrize("name", METHODS)
WITH_A_STEP = pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.server_step is not None]
)


def strategy_of(
    name: str,
    *,
    clients: dict[int, str] = CLIENTS,
    done: int = 0,
    clip: float = 0.0,
    start: Weights = START,
    state: Weights | None = None,
) -> Averaging:
    """What a run makes of a config, with all keys at their defaults."""
    settings = parse({"strategy": name}).to_flat()
    step = None
    if METHODS[name].server_step is not None:
        step = ServerStep(METHODS[name], settings, start, TRAINED, state)
    return Averaging(
        clients=clients,
        min_replies=1,
        rounds_done=done,
        constants={LAYOUT: PLAN.record()},
        clip_updates=clip,
        step=step,
    )


def trained_by(client: int, received: Weights) -> Weights:
    """A step away from what was received, another one for every client."""
    result = {}
    for name, array in received.items():
        if name == "table":
            result[name] = array
        elif array.dtype.kind == "i":
            result[name] = np.asarray(array + client)
        else:
            noise = np.random.default_rng([client, array.size]).normal(size=array.shape)
            move = 0.1 * noise - 0.05 * array
            if name == "bn.running_var":
                move = np.abs(move)
            result[name] = np.asarray(array + move, array.dtype)
    return result


def one_round(
    strategy: Averaging,
    weights: Weights,
    *,
    order: Sequence[int] | None = None,
    refused: int | None = None,
    one_by_one: bool = False,
) -> Weights:
    """The weights after a round in which every client answers."""
    sent = deliver(
        strategy.configure_train(1, PLAN.flatten(weights), ConfigRecord(), MemoryGrid({}))
    )
    replies = []
    for index, message in enumerate(sent):
        if index == refused:
            error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "not today")
            replies.append(Message(error, reply_to=message))
        else:
            replies.append(answer(message, num_examples=4 + index))
            replies[-1].content["arrays"] = PLAN.flatten(trained_by(index, weights))
    replies = [replies[index] for index in order or range(len(replies))]

    def lazily() -> Iterator[Message]:
        yield from replies

    result, _ = strategy.aggregate_train(1, lazily() if one_by_one else replies)
    assert result is not None
    return {name: array.copy() for name, array in PLAN.views(result).items()}


def rounds_of(strategy: Averaging, number: int, weights: Weights = START, **how: bool) -> Weights:
    for _ in range(number):
        weights = one_round(strategy, weights, **how)
    return weights


@EVERY
def test_after_a_kill_the_weights_are_the_same(name: str, tmp_path: Path) -> None:
    """Two rounds, a checkpoint on disk, another strategy from it, two more: as four in one go."""
    expected = rounds_of(strategy_of(name), 4)
    killed = strategy_of(name)
    weights = rounds_of(killed, 2)
    state = None if killed.step is None else killed.step.state
    Checkpoint(tmp_path).save(Progress(round=2), weights, state)
    one_round(killed, weights)  # under way when it was killed

    again = Checkpoint(tmp_path)
    done = again.progress().round
    weights = again.weights(done)
    kept = None if state is None else again.server_state(done)
    resumed = strategy_of(name, done=done, start=weights, state=kept)
    assert_same_bits(rounds_of(resumed, 2, weights), expected)


@EVERY
@WAYS
def test_the_order_of_replies_does_not_matter(name: str, one_by_one: bool) -> None:
    expected = rounds_of(strategy_of(name), 2)
    for order in permutations(range(3)):
        strategy = strategy_of(name)
        first = one_round(strategy, START, order=order, one_by_one=one_by_one)
        found = one_round(strategy, first, order=order, one_by_one=one_by_one)
        assert_same_bits(found, expected)


@EVERY
def test_one_by_one_and_in_memory_are_the_same(name: str) -> None:
    """Over sites and in a simulation, the state included."""
    sides = [strategy_of(name), strategy_of(name)]
    found = [rounds_of(sides[way], 3, one_by_one=bool(way)) for way in range(2)]
    assert_same_bits(*found)
    if sides[0].step is not None and sides[1].step is not None:
        assert_same_bits(sides[0].step.state, sides[1].step.state)


@EVERY
@WAYS
def test_one_client_alone(name: str, one_by_one: bool) -> None:
    """Its own weights are the mean: with no step at the server, they are the next model."""
    strategy = strategy_of(name, clients={5: "client-0"})
    found = one_round(strategy, START, one_by_one=one_by_one)
    expected = trained_by(0, START)
    if (step := strategy_of(name).step) is not None:
        step.take(START, expected)
    assert_same_bits(found, expected)


@EVERY
@WAYS
def test_a_refused_reply_leaves_the_others(name: str, one_by_one: bool) -> None:
    """As if that client had not been asked; the next round has all of them again."""
    strategy = strategy_of(name)
    found = one_round(strategy, START, refused=2, one_by_one=one_by_one)
    assert strategy.replies.failures == {"client-2": "not today"}
    two = strategy_of(name, clients={30: "client-0", 10: "client-1"})
    assert_same_bits(found, one_round(two, START))
    assert not same_bits(found, one_round(strategy_of(name), START))
    one_round(strategy, found, one_by_one=one_by_one)
    assert strategy.replies.failures == {}


@EVERY
def test_buffers_and_integers_take_the_mean(name: str) -> None:
    """A step of Adam would make a variance negative, and a counter fractional."""
    weights = START
    strategy = strategy_of(name)
    for _ in range(3):
        mean = one_round(strategy_of(DEFAULT), weights)
        weights = one_round(strategy, weights)
        assert {n: (a.dtype, a.shape) for n, a in weights.items()} == SHAPES
        assert_same_bits(
            {n: a for n, a in weights.items() if n not in TRAINED},
            {n: a for n, a in mean.items() if n not in TRAINED},
        )


@EVERY
def test_updates_are_clipped_before_the_step(name: str) -> None:
    """With a bound that no update reaches nothing changes; with a small one every value does."""
    free = one_round(strategy_of(name), START)
    assert_same_bits(one_round(strategy_of(name, clip=100.0), START), free)
    bounded = one_round(strategy_of(name, clip=0.01), START)
    assert (bounded["head.weight"] != free["head.weight"]).any()


@WITH_A_STEP
def test_the_state_is_not_changed_while_a_checkpoint_is_written_from_it(name: str) -> None:
    strategy = strategy_of(name)
    assert strategy.step is not None
    weights = one_round(strategy, START)
    state = strategy.step.state
    before = {name: array.copy() for name, array in state.items()}
    one_round(strategy, weights)
    assert_same_bits(state, before)
    assert not same_bits(strategy.step.state, before)


@WITH_A_STEP
def test_a_step_that_is_not_finite_fails_the_round(name: str) -> None:
    strategy = strategy_of(name)
    assert strategy.step is not None
    strategy.step.state = {n: np.full_like(a, np.nan) for n, a in strategy.step.state.items()}
    with pytest.raises(TooFewReplies, match=r"^round 1: the server's step gives"):
        one_round(strategy, START)


@WITH_A_STEP
def test_another_models_state_is_refused(name: str) -> None:
    step = strategy_of(name).step
    assert step is not None
    damaged: list[Callable[[Weights], Weights]] = [
        lambda state: {},
        lambda state: dict(list(state.items())[1:]),
        lambda state: {**state, "extra/head.weight": np.zeros(1, np.float32)},
        lambda state: {n: a.reshape(-1)[:1] for n, a in state.items()},
        lambda state: {n: a.astype(np.float16) for n, a in state.items()},
    ]
    for damage in damaged:
        with pytest.raises(ValueError, match=f"is not the server's state of {METHODS[name].title}"):
            strategy_of(name, done=1, state=damage(step.state))


@EVERY
def test_it_says_where_it_is_from(name: str) -> None:
    method = METHODS[name]
    assert method.title.lower() == name
    assert method.paper[-4:].isdigit()
    assert method.equation
    assert (method.server_init is None) <= (method.server_step is None)
    for key, said in method.keys.items():
        assert (type(DEFAULTS[key]), DEFAULTS[key]) == (type(said.default), said.default)


@EVERY
def test_it_is_documented(name: str) -> None:
    """One row with its title, equation, and each of its keys with the default."""
    rows = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").splitlines()
    (row,) = [row for row in rows if row.startswith(f"| `{name}` |")]
    method = METHODS[name]
    year = method.paper[-4:]
    for word in (method.title, method.equation, year, method.paper.split(" et al.")[0]):
        assert word in row, word
    for key, said in method.keys.items():
        assert f"`{key}` ({said.default}" in row, key


def test_every_method_is_a_file_and_every_file_a_method() -> None:
    files = {path.stem for path in (ROOT / "strategies" / "methods").glob("[!_]*.py")}
    assert files == METHODS.keys()
    assert next(iter(METHODS)) == DEFAULT


def test_methods_that_share_a_key_declare_it_equally() -> None:
    for name, key in KEYS.items():
        assert all(m.keys[name] == key for m in METHODS.values() if name in m.keys), name


def test_nothing_heavy_is_needed_to_know_the_methods() -> None:
    heavy = "{'torch', 'flwr', 'numpy'}"
    code = f"import sys, strategies.methods; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
