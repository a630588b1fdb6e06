"""SCAFFOLD: control variates take the drift of each client's data out of its local steps.

The server keeps c, client i keeps c_i, both 0 before round one. From y = x a client takes K steps
y ← y − η_l (g − c_i + c), then c_i⁺ ← c_i − c + (x − y)/(K η_l), which is option II; the server
x ← x + η_g (mean − x) and c ← c + (|S|/N) (1/|S|) Σ (c_i⁺ − c_i).

A client returns c + c_i⁺ − c_i = (x − y)/(K η_l), its mean gradient. One that is absent, or whose
reply does not count, keeps the c_i of its last round that counted: so c stays the mean of all c_i.

With a warm start round one leaves x where it is and only sets c and the c_i, to the mean gradients
near x. BatchNorm's statistics take the mean, integers the largest value, in that round too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Aggregation, ClientHalf, Key, LocalTraining, Method, Settings, State

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Corrected(ClientHalf):
    """Adds c − c_i to the gradients; holds that and the received weights."""

    def __init__(self, training: LocalTraining) -> None:
        self._training = training
        self._received = training.received()
        self._correction = [
            c - training.state[name] if name in training.state else c
            for name, c in zip(training.trained, training.received("c"), strict=True)
        ]
        self._steps = 0

    def before_step(self) -> None:
        """Add c − c_i."""
        self._steps += 1
        for parameter, correction in zip(
            self._training.trained.values(), self._correction, strict=True
        ):
            if parameter.grad is not None:
                parameter.grad += correction

    def after_training(self) -> None:
        """Keep c_i⁺ and return (x − y)/(K η_l)."""
        done = self._training
        length = self._steps * done.learning_rate
        gradients = [
            (x - y.detach()) / length
            for x, y in zip(self._received, done.trained.values(), strict=True)
        ]
        done.returned["c"] = gradients
        for name, gradient, correction in zip(
            done.trained, gradients, self._correction, strict=True
        ):
            done.state[name] = gradient - correction


def server_init(weights: NDArray, _settings: Settings) -> State:
    """Return c = 0."""
    import numpy as np

    return {"c": np.zeros_like(weights)}


def server_step(now: Aggregation) -> tuple[NDArray, State]:
    """Return x + η_g (mean − x) and c + (|S|/N) (mean of what was returned − c)."""
    rate, c = now.settings["global-step-size"], now.state["c"]
    weights = now.mean if rate == 1 else now.weights + rate * (now.mean - now.weights)
    if now.settings["scaffold-warm-start"] and now.round == 1:
        weights = now.weights
    return weights, {"c": c + now.share * (now.carried["c"] - c)}


METHOD = Method(
    title="SCAFFOLD",
    paper="Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, "
    "2020",
    equation="Algorithm 1, option II",
    keys={"global-step-size": Key(1.0, gt=0), "scaffold-warm-start": Key(0, ge=0, le=1)},
    carried=("c",),
    server_init=server_init,
    server_step=server_step,
    client_half=Corrected,
    client_state=1,
    absent="keeps its control of the last round that counted, as in the paper",
    sgd_only=True,
)
