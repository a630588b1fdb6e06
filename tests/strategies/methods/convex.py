"""A small convex federation in float64: both halves of a method, and real messages between them.

Client i minimises ½‖A_i w − b_i‖²/n_i over matrices w, with full-batch steps of SGD. The clients
have different data, and may take different numbers of steps. A test compares it with its own loop,
written from the paper.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from flwr.app import ConfigRecord, Message
from numpy.typing import NDArray

from strategies.averaging import Averaging
from strategies.exchange import Exchange, arrays_of
from strategies.layout import Layout
from strategies.method import LocalTraining, carried_name
from strategies.methods import METHODS
from strategies.replies import NUM_EXAMPLES
from tests.support import MemoryGrid, answer, deliver, settings_of
from training.config import parse

SHAPE = (4, 2)
NAME = "w"
EXAMPLES = (5, 8, 12)
Matrix = NDArray[np.float64]


@dataclass
class Problem:
    """The clients' data.

    Attributes:
        data: (A_i, b_i) of each client.
        steps: of each client in a round.
        rate: of the local steps.
    """

    data: list[tuple[Matrix, Matrix]]
    steps: tuple[int, ...] = (3, 3, 3)
    rate: float = 0.05

    @classmethod
    def drawn(cls, **others: Any) -> "Problem":
        rng = np.random.default_rng(7)
        data = [
            (rng.normal(size=(n, SHAPE[0])), rng.normal(size=(n, SHAPE[1])) + 2 * i)
            for i, n in enumerate(EXAMPLES)
        ]
        return cls(data, **others)

    def gradient(self, client: int, w: Matrix) -> Matrix:
        """∇F_i(w) = A_iᵀ(A_i w − b_i)/n_i."""
        a, b = self.data[client]
        return a.T @ (a @ w - b) / len(a)


def first() -> Matrix:
    return np.random.default_rng(3).normal(size=SHAPE)


@dataclass
class ConvexRun:
    """A method on a problem, as a run of this project.

    Args:
        strategy: name of the method.
        problem: the clients' data.
        settings: other keys of the config.
    """

    strategy: str
    problem: Problem
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = {key.replace("_", "-"): value for key, value in self.settings.items()}
        self._flat = parse({"strategy": self.strategy, **keys}).to_flat()
        self._method = METHODS[self.strategy]
        self.exchange = Exchange(self._method, self._flat, {NAME: first()}, [NAME])
        names = [f"client-{i}" for i in range(len(self.problem.data))]
        self._server = Averaging(
            clients=dict(enumerate(names)),
            aggregation_weights=str(self._flat["aggregation-weights"]),
            constants=self.exchange.constants(),
            step=self.exchange.step,
            train_layout=self.exchange.train_layout,
            examples=dict(zip(names, map(len, (a for a, _ in self.problem.data)), strict=True)),
        )
        self._arrays = self.exchange.first
        self._states: list[dict[str, torch.Tensor]] = [{} for _ in names]

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
        return self.exchange.weights(self._arrays)[NAME].copy()

    def _answers(self, messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            client = int(str(settings_of(message)["client-index"]))
            received = {name: torch.tensor(a) for name, a in arrays_of(message.content).items()}
            w = received[NAME].clone().requires_grad_()
            training = LocalTraining(
                settings=self._flat,
                trained={NAME: w},
                received=lambda kind="", arrays=received: [
                    arrays[carried_name(kind, NAME) if kind else NAME]
                ],
                learning_rate=self.problem.rate,
                state=self._states[client],
            )
            begin = self._method.client_half
            half = None if begin is None else begin(training)
            optimizer = torch.optim.SGD([w], lr=self.problem.rate)
            for _ in range(self.problem.steps[client]):
                w.grad = torch.tensor(self.problem.gradient(client, w.detach().numpy()))
                if half is not None:
                    half.before_step()
                optimizer.step()
            if half is not None:
                half.after_training()
            returned = {NAME: w.detach().numpy()}
            for kind in self._method.carried:
                (array,) = training.returned[kind]
                returned[carried_name(kind, NAME)] = array.numpy()
            metrics = {NUM_EXAMPLES: len(self.problem.data[client][0]), **training.scalars}
            reply = answer(message, **metrics)
            reply.content["arrays"] = Layout.of(returned).flatten(returned)
            yield reply
