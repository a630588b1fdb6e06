"""A method's step at the server, from the mean of the clients' weights to the next model.

The server's state has the names ``<what>/<array>``, such as ``m/head.weight``.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import NotFinite, is_finite
from strategies.method import Method, Settings, State


class ServerStep:
    """The server's half of a method, over all trained arrays; takes one step after each round.

    Memory: the state, twice during a step, since a checkpoint may be written from the old one, and
    one array's results.

    Args:
        method: with a ``server_step``.
        settings: the config's keys with their values.
        weights: the initial weights of this start; only the shapes matter if ``state`` is given.
        trained: the names of the arrays that are trained parameters.
        state: of the last finished round; None before round one.

    Attributes:
        state: by name; replaced by a step, never changed in place.

    Raises:
        ValueError: the state is not one of this method for these weights.
    """

    def __init__(
        self,
        method: Method,
        settings: Settings,
        weights: Mapping[str, NDArray],
        trained: Iterable[str],
        state: Mapping[str, NDArray] | None = None,
    ) -> None:
        self._method = method
        self._settings = settings
        self._trained = sorted(trained)
        first = {name: self._init(weights[name]) for name in self._trained}
        self.state = _flat(first)
        if state is not None:
            shapes = {name: (a.dtype, a.shape) for name, a in state.items()}
            if shapes != {name: (a.dtype, a.shape) for name, a in self.state.items()}:
                raise ValueError(f"is not the server's state of {method.title} for these weights")
            self.state = dict(state)
        self._kinds = {name: list(kinds) for name, kinds in first.items()}

    def take(self, received: Mapping[str, NDArray], mean: Mapping[str, NDArray]) -> None:
        """Replace the mean of every trained array by the method's next weights.

        Args:
            received: the weights that the clients were sent.
            mean: the mean of theirs; changed in place.

        Raises:
            NotFinite: the next weights or the next state are NaN or infinite somewhere.
        """
        assert self._method.server_step is not None
        state: dict[str, State] = {}
        for name in self._trained:
            wide = np.result_type(mean[name].dtype, np.float32)
            kept = {kind: self.state[f"{kind}/{name}"] for kind in self._kinds[name]}
            with np.errstate(all="ignore"):  # what is not finite is found below
                following, state[name] = self._method.server_step(
                    received[name].astype(wide, copy=False),
                    mean[name].astype(wide, copy=False),
                    kept,
                    self._settings,
                )
                mean[name][...] = following
            if not all(map(is_finite, (mean[name], *state[name].values()))):
                raise NotFinite
        self.state = _flat(state)

    def _init(self, weights: NDArray) -> State:
        if self._method.server_init is None:
            return {}
        wide = np.result_type(weights.dtype, np.float32)
        return self._method.server_init(weights.astype(wide, copy=False), self._settings)


def _flat(state: Mapping[str, State]) -> dict[str, NDArray]:
    return {
        f"{kind}/{name}": np.asarray(array)
        for name, kinds in state.items()
        for kind, array in kinds.items()
    }
