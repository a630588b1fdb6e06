"""Packed updates behind a grid, with strategies that know no wire format."""

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedMedian,
    MultiKrum,
    Strategy,
)
from numpy.typing import NDArray

from fl_server.reply_grids import UnpackingGrid
from strategies.arrays import num_bytes
from strategies.averaging import Averaging
from strategies.layout import Layout
from strategies.replies import TooFewReplies
from strategies.wire_format import pack_record, signature
from tests.support import MemoryGrid, answer, assert_same_bits, received_by

pytestmark = pytest.mark.usefixtures("flower_task")

CLIENTS = {30: "client-0", 10: "client-1", 20: "client-2"}
PACKED = ("bfloat16", "int8")
Weights = dict[str, NDArray]
Node = Callable[[Message], Message]


def first() -> Weights:
    rng = np.random.default_rng(0)
    return {
        "w": rng.normal(size=(5, 8)).astype(np.float32),
        "bias": rng.normal(size=5).astype(np.float32),
    }


def change_of(index: int) -> Weights:
    rng = np.random.default_rng(index + 1)
    return {name: (0.1 * rng.normal(size=a.shape)).astype("f4") for name, a in first().items()}


LAYOUT = Layout.of(first())


def received_in(message: Message) -> Weights:
    return LAYOUT.views(received_by(message))


def packed(
    trained: Weights, received: Weights, form: str, changes: Weights | None = None
) -> ArrayRecord:
    """An update as it travels, or one with some arrays changed on the way."""
    layout = Layout(signature(LAYOUT.signature, form))
    arrays = layout.views(pack_record(trained, received, {}, form))
    return layout.flatten({**arrays, **(changes or {})})


def reply(message: Message, record: ArrayRecord) -> Message:
    done = answer(message, num_examples=4)
    done.content["arrays"] = record
    return done


def client(index: int, form: str) -> Node:
    """Who moves the weights by a change of its own."""

    def train(message: Message) -> Message:
        received = received_in(message)
        trained = {name: a + change_of(index)[name] for name, a in received.items()}
        whole = form == "float32"
        return reply(message, LAYOUT.flatten(trained) if whole else packed(trained, received, form))

    return train


def grid_of(form: str, **others: Node) -> MemoryGrid | UnpackingGrid:
    """The three clients, those that are named otherwise in ``others``."""
    nodes = {
        node: others.get(name.replace("-", "_"), client(index, form))
        for index, (node, name) in enumerate(CLIENTS.items())
    }
    grid = MemoryGrid(nodes)
    return grid if form == "float32" else UnpackingGrid(grid, form, LAYOUT)


def one_round(strategy: Strategy, grid: MemoryGrid | UnpackingGrid) -> Weights:
    """One round by Flower's own loop."""
    start = LAYOUT.flatten(first())
    result = strategy.start(grid, start, num_rounds=1, train_config=ConfigRecord())
    return LAYOUT.views(result.arrays)


def bound_of(form: str) -> dict[str, float]:
    """How wrong one client's value can be.

    bfloat16: 2⁻⁸ of the largest change; int8: max|Δ|/254. The bias travels in float32. 10⁻⁶ is for
    float32's own rounding of values up to 3.
    """
    highest = max(float(np.abs(change_of(index)["w"]).max()) for index in range(3))
    share = {"bfloat16": 2.0**-8, "int8": 1 / 254}[form]
    return {"w": share * highest + 1e-6, "bias": 1e-6}


def private() -> Strategy:
    """Updates have norms above 0.2, so they are clipped; noise would hide the comparison."""
    return DifferentialPrivacyServerSideFixedClipping(
        Averaging(clients=CLIENTS), noise_multiplier=0.0, clipping_norm=0.2, num_sampled_clients=3
    )


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "FedAvg": lambda: Averaging(clients=CLIENTS),
    "differential privacy": private,
    "median": lambda: FedMedian(fraction_evaluate=0.0, min_available_nodes=3),
    # The two that are nearest to one another; which of them is one too many would be a draw.
    "Krum": lambda: MultiKrum(fraction_evaluate=0.0, min_available_nodes=3, num_nodes_to_select=2),
}


@pytest.mark.parametrize("form", PACKED)
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_finds_what_it_finds_of_whole_weights(name: str, form: str) -> None:
    """Within the error of one client's value.

    A mean and a median move by no more than their values do, and Krum's is a mean of two clients.
    Clipping is a projection on a ball, which takes no two changes farther apart than they were: the
    norm of all 45 errors bounds it.
    """
    whole = one_round(STRATEGIES[name](), grid_of("float32"))
    found = one_round(STRATEGIES[name](), grid_of(form))
    for array, bound in bound_of(form).items():
        if name == "differential privacy":
            bound = np.sqrt(45) * bound_of(form)["w"]
        assert np.abs(found[array] - whole[array]).max() <= bound, array
        assert not (found[array] == first()[array]).all()


def test_updates_are_clipped_in_the_private_round() -> None:
    """Else the test above would say nothing of it: the mean of three steps of 0.2 is no longer."""
    found = one_round(private(), grid_of("int8"))
    step = np.concatenate([(found[name] - a).ravel() for name, a in first().items()])
    assert np.linalg.norm(step) <= 0.2
    longest = [np.concatenate([a.ravel() for a in change_of(i).values()]) for i in range(3)]
    assert min(np.linalg.norm(change) for change in longest) > 0.4


@pytest.mark.parametrize("form", PACKED)
def test_bytes_are_counted_as_they_travelled(form: str) -> None:
    strategy = Averaging(clients=CLIENTS)
    one_round(strategy, grid_of(form))
    travelled = num_bytes(packed(first(), first(), form))
    assert [reply.num_bytes for reply in strategy.replies.accepted] == [travelled] * 3
    assert travelled != num_bytes(LAYOUT.flatten(first()))


def switched(message: Message) -> Message:
    return client(0, "bfloat16")(message)


def negative_scale(message: Message) -> Message:
    received = received_in(message)
    changes = {"w:scale": np.full(5, -1, np.float32)}
    return reply(message, packed(received, received, "int8", changes))


def not_a_number(message: Message) -> Message:
    received = received_in(message)
    changes = {"bias": np.full(5, np.nan, np.float32)}
    return reply(message, packed(received, received, "int8", changes))


def overflowing(message: Message) -> Message:
    received = received_in(message)
    changes = {"w": np.full((5, 8), 127, np.int8), "w:scale": np.full(5, 3e38, np.float32)}
    return reply(message, packed(received, received, "int8", changes))


def another_file(message: Message) -> Message:
    done = client(0, "int8")(message)
    received_by(done)["int8"].data = b"7" * len(received_by(done)["int8"].data)
    return done


def without_arrays(message: Message) -> Message:
    return answer(message, num_examples=4)


def without_metrics(message: Message) -> Message:
    done = client(0, "int8")(message)
    del done.content["metrics"]
    return done


@pytest.mark.parametrize(
    "cheat, said",
    [
        (switched, "its update is sent as bfloat16, but int8 was asked for"),
        (negative_scale, "its array 'w:scale' is not a valid scale"),
        (not_a_number, "the update of its array 'bias' is not finite, or overflows"),
        (overflowing, "the update of its array 'w' is not finite, or overflows"),
        (another_file, "int8 is not the .npy file of the int8"),
        (without_arrays, "its reply lacks array 'float32'"),
        (without_metrics, "its reply has no record 'metrics'"),
    ],
)
def test_who_does_not_fit_is_refused_by_name_and_the_round_goes_on(cheat: Node, said: str) -> None:
    strategy = Averaging(clients=CLIENTS, min_replies=2)
    one_round(strategy, grid_of("int8", client_1=cheat))
    assert [reply.client for reply in strategy.replies.accepted] == ["client-0", "client-2"]
    assert said in strategy.replies.failures["client-1"]
    with pytest.raises(TooFewReplies, match="client-1"):
        one_round(Averaging(clients=CLIENTS, min_replies=3), grid_of("int8", client_1=cheat))


def test_errors_and_other_kinds_of_messages_pass_through() -> None:
    grid = grid_of("int8", client_0=lambda message: answer(message, num_examples=9))
    strategy = Averaging(clients={30: "client-0"})
    messages = strategy.evaluation_messages(LAYOUT.flatten(first()), {"splits": "test"})
    (passed,) = grid.send_and_receive(messages)
    assert dict(passed.content["metrics"]) == {"num-examples": 9}
    assert isinstance(passed.content["metrics"], MetricRecord)


class Lazy(MemoryGrid):
    """A grid that brings a reply when it is asked for, the last client's first."""

    def __init__(self) -> None:
        super().__init__({n: client(i, "int8") for i, n in enumerate(CLIENTS)})
        self.packed: list[weakref.ref[ArrayRecord]] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        for done in super().send_and_receive(messages, timeout=timeout):
            self.packed.append(weakref.ref(received_by(done)))
            yield done

    def num_packed(self) -> int:
        return sum(record() is not None for record in self.packed)


def test_replies_come_in_turn_and_each_lets_its_packed_bytes_go() -> None:
    """The replies come in the opposite order, so the waiting ones are still packed."""
    lazy = Lazy()
    grid = UnpackingGrid(lazy, "int8", LAYOUT)
    start = LAYOUT.flatten(first())
    messages = Averaging(clients=CLIENTS).configure_train(1, start, ConfigRecord(), grid)
    gc.disable()
    try:
        replies = iter(grid.send_and_receive(messages))
        assert lazy.packed == []  # nothing has come yet
        left = []
        for node in CLIENTS:
            assert next(replies).metadata.src_node_id == node
            left.append(lazy.num_packed())
    finally:
        gc.enable()
    assert left == [2, 1, 0]


def test_float32_needs_no_unpacking() -> None:
    """So it is today's round, to the bit: the mean of whole weights in the clients' order."""
    trained = [{n: a + change_of(i)[n] for n, a in first().items()} for i in range(3)]
    expected = {
        name: ((trained[0][name] + trained[1][name]) + trained[2][name]) / np.float32(3)
        for name in first()
    }
    assert_same_bits(one_round(Averaging(clients=CLIENTS), grid_of("float32")), expected)
