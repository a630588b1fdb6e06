"""FedYogi: FedAdam whose v changes by at most (1 − β₂)Δ² a round, up or down.

v ← v − (1 − β₂)Δ² sign(v − Δ²); all else is as in FedAdam.

BatchNorm's statistics and integers are not trained: see FedAdam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Aggregation, Method, State
from strategies.methods.fedadam import KEYS, PAPER, adaptive_step, server_init

if TYPE_CHECKING:
    from numpy.typing import NDArray


def server_step(now: Aggregation) -> tuple[NDArray, State]:
    """Return FedAdam's step with Yogi's v."""
    import numpy as np

    return adaptive_step(
        now, lambda v, squared, beta2: v - (1 - beta2) * squared * np.sign(v - squared)
    )


METHOD = Method(
    title="FedYogi",
    paper=PAPER,
    equation="Algorithm 2",
    keys=KEYS,
    server_init=server_init,
    server_step=server_step,
)
