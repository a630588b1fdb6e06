"""FedDyn: a regulariser that each client adapts makes the clients' minima those of the sum.

Client i minimises F_i(w) − ⟨g_i, w⟩ + (α/2)‖w − w_glo‖² and then takes g_i ← g_i − α(w_i − w_glo),
from 0; at a minimum that is the gradient of F_i there. With h = 0 before round one the server takes
h ← h − α (1/N) Σ (w_i − w_glo) over the clients that replied, and w_glo ← mean − h/α. Here it keeps
h/α. For α = 0, where that is not defined, w_glo is the mean.

A client that is absent, or whose reply does not count, keeps its g_i: so h stays the mean of all.

The server's step changes trained parameters only: BatchNorm's statistics take the mean, integers
the largest value. The regulariser is of trained parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Aggregation, ClientHalf, Key, LocalTraining, Method, Settings, State
from strategies.methods.fedprox import add_proximal_gradient

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Regularised(ClientHalf):
    """Adds α(w − w_glo) − g_i to the gradients; holds the received weights."""

    def __init__(self, training: LocalTraining, alpha: float) -> None:
        self._training = training
        self._alpha = alpha
        self._received = training.received()

    def before_step(self) -> None:
        """Add α(w − w_glo) − g_i."""
        training = self._training
        add_proximal_gradient(list(training.trained.values()), self._received, self._alpha)
        for name, parameter in training.trained.items():
            if name in training.state and parameter.grad is not None:
                parameter.grad -= training.state[name]

    def after_training(self) -> None:
        """Keep g_i − α(w_i − w_glo)."""
        import torch

        training = self._training
        for (name, w), received in zip(training.trained.items(), self._received, strict=True):
            before = training.state.get(name, torch.zeros_like(received))
            training.state[name] = before - self._alpha * (w.detach() - received)


def client_half(training: LocalTraining) -> Regularised | None:
    """Return the regulariser, or nothing if α is 0."""
    alpha = float(training.settings["dynamic-alpha"])
    return Regularised(training, alpha) if alpha > 0 else None


def server_init(weights: NDArray, _settings: Settings) -> State:
    """Return h/α = 0."""
    import numpy as np

    return {"h": np.zeros_like(weights)}


def server_step(now: Aggregation) -> tuple[NDArray, State]:
    """Return mean − h/α, with the new h/α."""
    if now.settings["dynamic-alpha"] == 0:
        return now.mean, now.state
    h = now.state["h"] - now.share * (now.mean - now.weights)
    return now.mean - h, {"h": h}


METHOD = Method(
    title="FedDyn",
    paper="Acar et al., Federated Learning Based on Dynamic Regularization, 2021",
    equation="Algorithm 1",
    keys={"dynamic-alpha": Key(0.01, ge=0)},
    server_init=server_init,
    server_step=server_step,
    client_half=client_half,
    client_state=1,
    absent="keeps its gradient of the last round that counted, as in the paper",
)
