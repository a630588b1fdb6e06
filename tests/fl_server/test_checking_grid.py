"""Hostile replies before a strategy: their client is named, and the round continues without it."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fl_server.client_evaluation import client_metrics
from fl_server.reply_grids import CheckingGrid
from strategies.averaging import Averaging
from strategies.expected_replies import Announced
from strategies.layout import LAYOUT, Layout
from strategies.reply_form import Content
from tests.strategies.replies_of_forms import ANNOUNCED, ASKED, EXPERIMENT, WEIGHTS, broken
from tests.support import MemoryGrid, received_by

pytestmark = pytest.mark.usefixtures("flower_task")

CLIENTS = {30: "client-0", 10: "client-1", 20: "client-2"}
WEIGHTS_LAYOUT = Layout(WEIGHTS)
HONEST = {
    "num-examples": 60,
    "train-loss": 0.5,
    "optimizer-round": 0,
    "seconds-message": 1.0,
    "validation-loss": 0.3,
    "validation-examples": 20,
    "validation-confusion": [9, 3, 2, 6],
}


def honest(message: Message) -> Message:
    """Adds one to each weight."""
    content = RecordDict({"metrics": MetricRecord(HONEST)})
    arrays = {
        name: array + (array.dtype.kind == "f")
        for name, array in WEIGHTS_LAYOUT.views(received_by(message)).items()
    }
    content["arrays"] = WEIGHTS_LAYOUT.flatten(arrays)
    return Message(content, reply_to=message)


def records_of(content: Content) -> RecordDict:
    """The records of a message; those arrays that can be made are."""
    result = RecordDict()
    for name, config in content.configs.items():
        result[name] = ConfigRecord(config)
    for name, metrics in content.metrics.items():
        result[name] = MetricRecord(metrics)
    for name, arrays in content.arrays.items():
        record = ArrayRecord()
        for key, (dtype, shape) in arrays.items():
            blank = Layout({"x": ("float32", shape)}).flatten({"x": np.zeros(shape, np.float32)})
            array = blank["float32"]
            array.dtype, array.shape = dtype, shape
            record[key] = array
        result[name] = record
    return result


def strategy_and_round(
    hostile: RecordDict | Error, announced: Announced = ANNOUNCED, inner: type = MemoryGrid
) -> tuple[Averaging, ArrayRecord]:
    """Round 4 with client-1's answer as given, by Flower's own loop."""

    def cheat(message: Message) -> Message:
        return Message(hostile, reply_to=message)

    nodes = {30: honest, 10: cheat, 20: honest}
    strategy = Averaging(
        clients=CLIENTS,
        min_replies=2,
        rounds_done=3,
        constants={LAYOUT: WEIGHTS_LAYOUT.record()},
    )
    grid = CheckingGrid(inner(nodes), dict.fromkeys(CLIENTS, announced))
    zero = {name: np.zeros(shape, dtype) for name, (dtype, shape) in WEIGHTS.items()}
    result = strategy.start(
        grid,
        WEIGHTS_LAYOUT.flatten(zero),
        num_rounds=1,
        train_config=ConfigRecord({"experiment": EXPERIMENT}),
    )
    return strategy, result.arrays


def assert_named(strategy: Averaging, arrays: ArrayRecord) -> str:
    """Only client-1 is missing, the others' replies count, and the reason can be printed."""
    assert [reply.client for reply in strategy.replies.accepted] == ["client-0", "client-2"]
    assert list(strategy.replies.failures) == ["client-1"]
    assert (WEIGHTS_LAYOUT.views(arrays)["weight"] == 1).all()
    assert client_metrics(strategy.replies, "validation", 2)["pooled"]["n"] == 40
    said = strategy.replies.failures["client-1"]
    assert said.isprintable()
    assert len(said) <= 300
    return said


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(data=st.data())
def test_a_reply_that_breaks_its_form_costs_its_client_the_round(data: st.DataObject) -> None:
    name, content = data.draw(broken(ASKED["later round"].form()))
    try:
        hostile = records_of(content)
    except TypeError:  # no record of Flower's holds such a value
        assume(False)
    said = assert_named(*strategy_and_round(hostile))
    assert name in said


@pytest.mark.parametrize(
    "changes",
    [
        {"num-examples": 10**15},
        {"num-examples": 0},
        {"validation-confusion": [20, 0, 0]},
        {"validation-loss": float("nan")},
        {"train-loss": -1.0},
    ],
)
def test_figures_beside_sound_weights_do_so_too(changes: dict[str, Any]) -> None:
    weights = {name: np.zeros(shape, dtype) for name, (dtype, shape) in WEIGHTS.items()}
    records = RecordDict(
        {
            "metrics": MetricRecord({**HONEST, **changes}),
            "arrays": WEIGHTS_LAYOUT.flatten(weights),
        }
    )
    assert next(iter(changes)) in assert_named(*strategy_and_round(records))


def test_an_errors_reason_is_one_short_printable_line() -> None:
    reason = "Traceback\n" + "\x1b]0;owned\x07" + "x" * 500_000
    error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)
    assert len(assert_named(*strategy_and_round(error))) == 300


def test_replies_are_checked_one_by_one() -> None:
    """So a grid that reads each reply on demand still has one at a time."""
    taken: list[Message] = []

    class Lazy(MemoryGrid):
        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            for reply in super().send_and_receive(messages, timeout=timeout):
                taken.append(reply)
                yield reply

    grid = CheckingGrid(Lazy(dict.fromkeys(CLIENTS, honest)), {})
    strategy = Averaging(clients=CLIENTS, constants={LAYOUT: WEIGHTS_LAYOUT.record()})
    zero = {name: np.zeros(shape, dtype) for name, (dtype, shape) in WEIGHTS.items()}
    settings = ConfigRecord({"experiment": EXPERIMENT})
    messages = strategy.configure_train(4, WEIGHTS_LAYOUT.flatten(zero), settings, grid)
    replies = grid.send_and_receive(messages)
    assert taken == []
    next(iter(replies))
    assert len(taken) == 1
