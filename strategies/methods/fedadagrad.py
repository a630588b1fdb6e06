"""FedAdagrad: Adagrad at the server, with the mean of the clients' updates as its gradient.

With Δ = (1/M) Σ w_i − w_glo the server takes v ← v + Δ² and w_glo ← w_glo + ηΔ/(√v + τ), with
v = τ² before round one. That is the paper's algorithm with β₁ = 0, as in its experiments.

The server's step changes trained parameters only: BatchNorm's statistics take the mean, integers
the largest value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Aggregation, Method, Settings, State
from strategies.methods.fedadam import KEYS, PAPER

if TYPE_CHECKING:
    from numpy.typing import NDArray


def server_init(weights: NDArray, settings: Settings) -> State:
    """Return v = τ²."""
    import numpy as np

    return {"v": np.full_like(weights, settings["server-tau"] ** 2)}


def server_step(now: Aggregation) -> tuple[NDArray, State]:
    """Return w_glo + ηΔ/(√v + τ) and v + Δ²."""
    import numpy as np

    rate, tau = now.settings["server-learning-rate"], now.settings["server-tau"]
    update = now.mean - now.weights
    v = now.state["v"] + np.square(update)
    return now.weights + rate * update / (np.sqrt(v) + tau), {"v": v}


METHOD = Method(
    title="FedAdagrad",
    paper=PAPER,
    equation="Algorithm 2",
    keys={key: KEYS[key] for key in ("server-learning-rate", "server-tau")},
    server_init=server_init,
    server_step=server_step,
)
