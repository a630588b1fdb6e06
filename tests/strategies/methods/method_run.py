"""A run of a method in memory, in which nothing is trained.

Its clients answer with numbers that depend on what they received, so that a wrong state or a wrong
start of a round changes everything after it.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from flwr.app import ConfigRecord, Error, Message
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from strategies.averaging import Averaging
from strategies.exchange import Exchange
from strategies.field_kinds import Count
from strategies.flower_mean import FlowerMean
from strategies.method import Method
from strategies.methods import METHODS
from tests.support import (
    MemoryGrid,
    answer,
    deliver,
    received_by,
    settings_of,
)
from training.config import parse

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


Weights = dict[str, NDArray]


class Run:
    """A run as a config makes it, with all of the method's keys at their defaults.

    Args:
        keys: other values of some.

    Attributes:
        strategy: the server's.
        exchange: what travels.
    """

    def __init__(
        self,
        method: str | Method,
        *,
        clients: dict[int, str] = CLIENTS,
        done: int = 0,
        clip: float = 0.0,
        start: Weights = START,
        state: Weights | None = None,
        sample: Callable[[int], list[int]] | None = None,
        keys: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.method = METHODS[method] if isinstance(method, str) else method
        settings = {**parse({}).to_flat(), **keys}
        self.exchange = Exchange(self.method, settings, start, TRAINED, state)
        flower = self.method.flower(settings) if self.method.flower else None
        self.strategy = Averaging(
            clients=clients,
            min_replies=1,
            sample=sample,
            rounds_done=done,
            constants=self.exchange.constants(),
            clip_updates=clip,
            step=self.exchange.step,
            train_layout=self.exchange.train_layout,
            flower=FlowerMean(flower) if flower else None,
        )
        self.arrays = self.exchange.first
        self._done = 0

    def state(self) -> Weights:
        return self.exchange.server_state(self.arrays)

    def scalars_of(self, client: int) -> dict[str, float]:
        """What a client reports, other numbers for every one."""
        kinds = {key: kind({}, None) for key, kind in self.method.scalars.items()}
        return {
            key: kind.least + client if isinstance(kind, Count) else 0.5 * (client + 1)
            for key, kind in kinds.items()
        }

    def round(
        self,
        *,
        order: Sequence[int] | None = None,
        refused: int | None = None,
    ) -> Weights:
        """The weights after a round in which every client that is asked answers."""
        self._done += 1
        number = self._done
        sent = deliver(
            self.strategy.configure_train(number, self.arrays, ConfigRecord(), MemoryGrid({}))
        )
        replies = []
        for message in sent:
            index = int(str(settings_of(message)["client-index"]))
            if index == refused:
                error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "not today")
                replies.append(Message(error, reply_to=message))
            else:
                replies.append(answer(message, num_examples=4 + index, **self.scalars_of(index)))
                plan = self.exchange.train_layout
                replies[-1].content["arrays"] = plan.flatten(
                    trained_by(index, plan.views(received_by(message)))
                )
        replies = [replies[index] for index in order or range(len(replies))]
        result, _ = self.strategy.aggregate_train(number, iter(replies))
        assert result is not None
        self.arrays = result
        return copied(self.exchange.weights(result))

    def rounds(self, number: int) -> Weights:
        for _ in range(number):
            weights = self.round()
        return weights


def copied(weights: Weights) -> Weights:
    return {name: array.copy() for name, array in weights.items()}


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
                move = (
                    -0.9 * (client + 1) / (client + 3) * array
                )  # a step with momentum would go below zero
            result[name] = np.asarray(array + move, array.dtype)
    return result
