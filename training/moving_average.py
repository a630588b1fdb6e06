"""The exponential moving average (EMA) of a run's global models, a model of its own."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.weights import Weights


class MovingAverage:
    """The average of the models after rounds 1 to r, of which round i weighs (1 − d) dʳ⁻ⁱ/(1 − dʳ).

    The weights sum to 1, so the random weights that a run begins with take no part: it is the
    bias-corrected average of Kingma and Ba, Adam, ICLR 2015, section 3, here of models, as Polyak
    and Juditsky, 1992, average the iterates of SGD. It is computed as e ← e + α(w − e) with
    α = (1 − d)/(1 − dʳ), which is 1 in round one; so the average of equal models is that model, to
    the bit. A round of a centralized run is an epoch.

    All arrays that are sent are averaged, parameters and BatchNorm's running statistics, which then
    belong together; integers are those of the newest model. float32 is computed in float32, smaller
    types in float32 too.

    Memory: one copy of the sent arrays, and one array more.

    Args:
        decay: d in (0, 1).
        rounds: r so far.
        weights: the average after them; None before round one. They are changed in place.

    Attributes:
        weights: the average so far, by name; empty before round one.
    """

    def __init__(self, decay: float, rounds: int = 0, weights: Weights | None = None) -> None:
        self._decay = decay
        self._rounds = rounds
        self.weights: Weights = weights or {}

    def add(self, weights: Mapping[str, NDArray]) -> None:
        """Take the model of the next round, which is not changed, into the average."""
        self._rounds += 1
        if not self.weights:
            self.weights = {name: np.array(array) for name, array in weights.items()}
            return
        share = (1 - self._decay) / (1 - self._decay**self._rounds)
        for name, newest in weights.items():
            average = self.weights[name]
            if not np.issubdtype(average.dtype, np.floating):
                average[...] = newest
                continue
            wide = np.result_type(average.dtype, np.float32)
            step = np.subtract(newest, average, dtype=wide)
            step *= wide.type(share)
            average += step.astype(average.dtype, copy=False)
