"""FedAvgM: FedAvg with momentum at the server.

With Δ = w_glo − (1/M) Σ w_i the server takes v ← βv + Δ and w_glo ← w_glo − v, with v = 0 before
round one. It is computed as mean − βv, which is the same number and, with β = 0, FedAvg to the bit.

The server's step changes trained parameters only: BatchNorm's statistics take the mean, integers
the largest value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Aggregation, Key, Method, Settings, State

if TYPE_CHECKING:
    from numpy.typing import NDArray


def server_init(weights: NDArray, _settings: Settings) -> State:
    """Return v = 0."""
    import numpy as np

    return {"v": np.zeros_like(weights)}


def server_step(now: Aggregation) -> tuple[NDArray, State]:
    """Return w_glo − v and v = βv + w_glo − mean."""
    kept = now.settings["server-momentum"] * now.state["v"]
    return now.mean - kept, {"v": kept + (now.weights - now.mean)}


METHOD = Method(
    title="FedAvgM",
    paper="Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated "
    "Visual Classification, 2019",
    equation="v ← βv + Δ, w ← w − v",
    keys={"server-momentum": Key(0.9, ge=0, lt=1)},
    server_init=server_init,
    server_step=server_step,
)
