"""A method's step at the server, from the mean of the clients' weights to the next model.

The server's state has the names ``<kind>/<array>``, such as ``m/head.weight``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.aggregation import NotFinite, is_finite
from strategies.method import Aggregation, Method, Scalars, Settings, State, carried_name


class ServerStep:
    """The server's half of a method, over all trained arrays; takes one step after each round.

    Memory: the state, twice during a step, since a checkpoint may be written from the old one, and
    one array's results.

    Args:
        method: with a ``server_step``.
        weights: the initial weights of this start; only the shapes matter if ``state`` is given.
        trained: the names of the arrays that are trained parameters.
        state: of the last finished round; None before round one.

    Attributes:
        state: by name, without what is carried; replaced by a step, never changed in place.
        carried: by name, what clients receive beside the weights in the first round of this start.

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
        self.method = method
        self._settings = settings
        self._trained = sorted(trained)
        first = {name: self._init(weights[name]) for name in self._trained}
        whole = _flat(first)
        if state is not None:
            shapes = {name: (a.dtype, a.shape) for name, a in state.items()}
            if shapes != {name: (a.dtype, a.shape) for name, a in whole.items()}:
                raise ValueError(f"is not the server's state of {method.title} for these weights")
            whole = dict(state)
        self._kinds = {
            name: [kind for kind in kinds if kind not in method.carried]
            for name, kinds in first.items()
        }
        self.carried = {
            sent: whole.pop(sent)
            for kind in method.carried
            for sent in (carried_name(kind, name) for name in self._trained)
        }
        self.state = whole

    def scalars(self, metrics: Mapping[str, Any]) -> Scalars:
        """Return the numbers that the method declares from a reply's metrics."""
        return {key: metrics[key] for key in self.method.scalars}

    def take(
        self,
        received: Mapping[str, NDArray],
        mean: Mapping[str, NDArray],
        *,
        round_number: int,
        share: float = 1.0,
        replies: Sequence[tuple[float, Scalars]] = (),
    ) -> None:
        """Replace the mean of every trained array by the method's next weights, and of what is
        carried by the next of that.

        Args:
            received: what the clients were sent.
            mean: the mean of what they returned; changed in place.
            round_number: of the round that ends, from 1.
            share, replies: see `Aggregation`.

        Raises:
            NotFinite: the next weights or the next state are NaN or infinite somewhere.
            TypeError: the method gives arrays of other shapes or names than it got.
        """
        assert self.method.server_step is not None
        following: dict[str, State] = {}
        for name in self._trained:
            sent = {kind: carried_name(kind, name) for kind in self.method.carried}
            wide = np.result_type(mean[name].dtype, np.float32)
            one = Aggregation(
                settings=self._settings,
                weights=received[name].astype(wide, copy=False),
                mean=mean[name].astype(wide, copy=False),
                state={kind: self.state[carried_name(kind, name)] for kind in self._kinds[name]}
                | {kind: received[path] for kind, path in sent.items()},
                round=round_number,
                carried={kind: mean[path] for kind, path in sent.items()},
                share=share,
                replies=replies,
            )
            with np.errstate(all="ignore"):  # what is not finite is found below
                weights, state = self.method.server_step(one)
                # NumPy would stretch a single number to any shape.
                if _shapes({"": weights, **state}) != _shapes({"": one.mean, **one.state}):
                    title = self.method.title
                    raise TypeError(f"{title}: its server_step changes the shapes of {name}")
                mean[name][...] = weights
            if not all(map(is_finite, (mean[name], *state.values()))):
                raise NotFinite
            for kind, path in sent.items():
                mean[path][...] = state.pop(kind)
            following[name] = state
        self.state = _flat(following)

    def _init(self, weights: NDArray) -> State:
        if self.method.server_init is None:
            return {}
        wide = np.result_type(weights.dtype, np.float32)
        return self.method.server_init(weights.astype(wide, copy=False), self._settings)


def _shapes(arrays: Mapping[str, NDArray]) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in arrays.items()}


def _flat(state: Mapping[str, State]) -> dict[str, NDArray]:
    return {
        carried_name(kind, name): np.asarray(array)
        for name, kinds in state.items()
        for kind, array in kinds.items()
    }
