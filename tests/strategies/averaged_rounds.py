"""Rounds of three clients whose models are two arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message
from numpy.typing import NDArray

from strategies.arrays import to_record, views
from strategies.averaging import Averaging
from tests.support import (
    MemoryGrid,
    answer,
    deliver,
)

# Node ids say nothing about the clients' order, which is that of this table.
CLIENTS = {30: "client-0", 10: "client-1", 20: "client-2"}


Weights = dict[str, NDArray]

with_nan = {"w": np.array([[1, 1, 1], [1, 1, np.nan]], np.float32), "counter": np.array(0)}


def model(value: float, counter: int = 0) -> Weights:
    return {"w": np.full((2, 3), value, np.float32), "counter": np.array(counter)}


def random_model(seed: int) -> Weights:
    return {"w": np.random.default_rng(seed).normal(size=1000).astype(np.float32)}


def ask(strategy: Averaging, arrays: Mapping[str, NDArray], number: int = 1) -> list[Message]:
    """One round's messages, sent."""
    grid = MemoryGrid({})
    return deliver(strategy.configure_train(number, to_record(arrays), ConfigRecord(), grid))


def average(strategy: Averaging, replies: list[Message], number: int = 1) -> dict[str, NDArray]:
    arrays, metrics = strategy.aggregate_train(number, iter(replies))
    assert arrays is not None
    assert metrics is None
    return views(arrays)


def round_of(
    strategy: Averaging, *trained: Weights, examples: tuple[int, ...] = (1, 1, 1)
) -> Weights:
    """Every client answers with its weights."""
    sent = ask(strategy, trained[0])
    return average(
        strategy,
        [
            answer(message, weights, num_examples=count)
            for message, weights, count in zip(sent, trained, examples, strict=True)
        ],
    )


def refused(message: Message, arrays: Mapping[str, NDArray], **metrics: Any) -> Message:
    return answer(message, arrays, **{"num_examples": 1, **metrics})
