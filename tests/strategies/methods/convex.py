"""A small federation in float64: both halves of a method, and real messages between them.

Client i minimises ½‖f(A_i; w) − b_i‖²/n_i, with full-batch steps of SGD, where f is linear or a
small network. The clients have different data, and may take different numbers of steps. A test
compares it with its own loop, written from the paper.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message
from numpy.typing import NDArray

from strategies.averaging import Averaging
from strategies.exchange import Exchange, arrays_of
from strategies.flower_mean import FlowerMean
from strategies.layout import Layout
from strategies.method import ClientHalf, LocalTraining, carried_name
from strategies.methods import METHODS
from strategies.replies import NUM_EXAMPLES
from tests.support import MemoryGrid, answer, deliver, settings_of
from training.config import parse

SHAPE = (4, 2)
EXAMPLES = (5, 8, 12)
# A network's weights as one array.
WHOLE = {"w": slice(None)}
Matrix = NDArray[np.float64]
Begin = Callable[[LocalTraining], ClientHalf | None]


@dataclass
class Problem:
    """The clients' data, and a linear model with the weights w.

    Attributes:
        data: (A_i, b_i) of each client.
        steps: of each client in a round.
        rate: of the local steps.
    """

    data: list[tuple[Matrix, Matrix]]
    steps: tuple[int, ...] = (3, 3, 3)
    rate: float = 0.05

    @classmethod
    def drawn(cls, examples: tuple[int, ...] = EXAMPLES, **others: Any) -> Self:
        rng = np.random.default_rng(7)
        data = [
            (rng.normal(size=(n, SHAPE[0])), rng.normal(size=(n, SHAPE[1])) + 2 * i)
            for i, n in enumerate(examples)
        ]
        return cls(data, **{"steps": (3,) * len(examples), **others})

    def gradient(self, client: int, w: Matrix) -> Matrix:
        """∇F_i(w) = A_iᵀ(A_i w − b_i)/n_i."""
        a, b = self.data[client]
        return a.T @ (a @ w - b) / len(a)


class Network(Problem):
    """A network of two layers instead, tanh(A_i U)V with w = (U, V), of two columns of A_i."""

    def gradient(self, client: int, w: Matrix) -> Matrix:
        a, b = self.data[client]
        a, u, v = a[:, :2], w[:2], w[2:]
        hidden = np.tanh(a @ u)
        error = (hidden @ v - b) / len(a)
        return np.concatenate([a.T @ (error @ v.T * (1 - hidden**2)), hidden.T @ error])


KINDS = pytest.mark.parametrize("kind", [Problem, Network], ids=["linear", "network"])


def first() -> Matrix:
    return np.random.default_rng(3).normal(size=SHAPE)


@dataclass
class ConvexRun:
    """A method on a problem, as a run of this project.

    Args:
        strategy: name of the method.
        problem: the clients' data.
        settings: other keys of the config.
        parts: the rows of w that each array of the model is.
    """

    strategy: str
    problem: Problem
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, slice] = field(default_factory=lambda: WHOLE)

    def __post_init__(self) -> None:
        keys = {key.replace("_", "-"): value for key, value in self.settings.items()}
        clients = len(self.problem.data)
        self._flat = parse({"strategy": self.strategy, "clients": clients, **keys}).to_flat()
        self._method = METHODS[self.strategy]
        weights = {name: first()[rows] for name, rows in self.parts.items()}
        self.exchange = Exchange(self._method, self._flat, weights, self.parts)
        names = [f"client-{i}" for i in range(clients)]
        flower = self._method.flower(self._flat) if self._method.flower else None
        self._server = Averaging(
            clients=dict(enumerate(names)),
            aggregation_weights=str(self._flat["aggregation-weights"]),
            constants=self.exchange.constants(),
            step=self.exchange.step,
            train_layout=self.exchange.train_layout,
            examples=dict(zip(names, map(len, (a for a, _ in self.problem.data)), strict=True)),
            flower=FlowerMean(flower) if flower else None,
        )
        self._arrays = self.exchange.first
        self._states: list[dict[str, torch.Tensor]] = [{} for _ in names]
        self._kept: list[dict[str, Matrix]] = [{} for _ in names]

    def rounds(self, number: int, absent: Mapping[int, Collection[int]] | None = None) -> Matrix:
        """Run some rounds; return w.

        Args:
            number: of rounds.
            absent: clients that do not answer, by round from 1.
        """
        for round_number in range(1, number + 1):
            sent = deliver(
                self._server.configure_train(
                    round_number, self._arrays, ConfigRecord(), MemoryGrid({})
                )
            )
            away = (absent or {}).get(round_number, ())
            there = [m for m in sent if settings_of(m)["client-index"] not in away]
            self._arrays, _ = self._server.aggregate_train(round_number, self._answers(there))
        return self._whole(self.exchange.weights(self._arrays))

    def own(self, client: int) -> Matrix:
        """The model that a client has for itself after the rounds."""
        shared = self.exchange.weights(self._arrays)
        own = {name: shared[name].copy() for name in self.parts} | self._kept[client]
        epochs = self._method.tuning_epochs
        for _ in range(0 if epochs is None else epochs(self._flat)):
            own = self._trained(client, own, None, LocalTraining({}, {}, lambda: []))
        return self._whole(own)

    def _whole(self, weights: Mapping[str, Matrix]) -> Matrix:
        return np.concatenate([weights[name] for name in self.parts])

    def _answers(self, messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            client = int(str(settings_of(message)["client-index"]))
            received = {n: a.copy() for n, a in arrays_of(message.content).items()}
            training = LocalTraining(
                settings=self._flat,
                trained={},
                received=lambda kind="", arrays=received: [
                    torch.tensor(arrays[carried_name(kind, n) if kind else n]) for n in self.parts
                ],
                learning_rate=self.problem.rate,
                state=self._states[client],
            )
            method, kept = self._method, self._kept[client]
            if method.own_half is not None:
                own = self._trained(client, {**received, **kept}, method.own_half, training)
                self._kept[client] = own
                kept = {}
            returned = self._trained(client, {**received, **kept}, method.client_half, training)
            stays = method.local_names(returned)
            if stays:
                self._kept[client] = {name: returned.pop(name) for name in stays}
            for kind in self._method.carried:
                for name, array in zip(self.parts, training.returned[kind], strict=True):
                    returned[carried_name(kind, name)] = array.numpy()
            metrics = {NUM_EXAMPLES: len(self.problem.data[client][0]), **training.scalars}
            reply = answer(message, **metrics)
            reply.content["arrays"] = Layout.of(returned).flatten(returned)
            yield reply

    def _trained(
        self, client: int, start: Mapping[str, Matrix], begin: Begin | None, training: LocalTraining
    ) -> dict[str, Matrix]:
        """A model after a round's local steps from a start."""
        trained = {name: torch.tensor(start[name], requires_grad=True) for name in self.parts}
        training.trained = trained
        half = None if begin is None else begin(training)
        optimizer = torch.optim.SGD(list(trained.values()), lr=self.problem.rate)
        for _ in range(self.problem.steps[client]):
            now = {name: w.detach().numpy() for name, w in trained.items()}
            gradient = self.problem.gradient(client, self._whole(now))
            for name, rows in self.parts.items():
                trained[name].grad = torch.tensor(gradient[rows])
            if half is not None:
                half.before_step()
            optimizer.step()
        if half is not None:
            half.after_training()
        return {name: w.detach().numpy() for name, w in trained.items()}
