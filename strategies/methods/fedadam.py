"""FedAdam: Adam at the server, with the mean of the clients' updates in place of a gradient.

With Δ = (1/M) Σ w_i − w_glo the server takes m ← β₁m + (1 − β₁)Δ, v ← β₂v + (1 − β₂)Δ² and
w_glo ← w_glo + ηm/(√v + τ). Before round one m = 0 and v = τ², the smallest v of the paper.
As in the paper, and unlike in Adam, the moments are not corrected for their start.

The server's step changes trained parameters only: BatchNorm's statistics take the mean, integers
the largest value. So a variance is never negative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from strategies.method import Aggregation, Key, Method, Settings, State

if TYPE_CHECKING:
    from numpy.typing import NDArray


def server_init(weights: NDArray, settings: Settings) -> State:
    """Return m = 0 and v = τ²."""
    import numpy as np

    least = settings["server-tau"] ** 2
    return {"m": np.zeros_like(weights), "v": np.full_like(weights, least)}


def adaptive_step(
    now: Aggregation, second_moment: Callable[[NDArray, NDArray, float], NDArray]
) -> tuple[NDArray, State]:
    """Return w_glo + ηm/(√v + τ), with the new m and v.

    Args:
        now: with the state m and v.
        second_moment: the new v from the old one, Δ² and β₂.
    """
    import numpy as np

    rate, tau = now.settings["server-learning-rate"], now.settings["server-tau"]
    beta1, beta2 = now.settings["server-beta1"], now.settings["server-beta2"]
    update = now.mean - now.weights
    m = beta1 * now.state["m"] + (1 - beta1) * update
    v = second_moment(now.state["v"], np.square(update), beta2)
    return now.weights + rate * m / (np.sqrt(v) + tau), {"m": m, "v": v}


def server_step(now: Aggregation) -> tuple[NDArray, State]:
    """Return `adaptive_step` with v ← β₂v + (1 − β₂)Δ²."""
    return adaptive_step(now, lambda v, squared, beta2: beta2 * v + (1 - beta2) * squared)


# Of all adaptive methods of the paper.
KEYS = {
    "server-learning-rate": Key(0.01, gt=0),
    "server-beta1": Key(0.9, ge=0, lt=1),
    "server-beta2": Key(0.99, ge=0, lt=1),
    "server-tau": Key(0.001, gt=0),
}
PAPER = "Reddi et al., Adaptive Federated Optimization, 2021"

METHOD = Method(
    title="FedAdam",
    paper=PAPER,
    equation="Algorithm 2",
    keys=KEYS,
    server_init=server_init,
    server_step=server_step,
)
