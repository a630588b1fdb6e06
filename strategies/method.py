"""What an algorithm of federated learning says about itself, and what it does at each side.

Each file in `strategies.methods` makes one `Method`; nothing else knows its name. Everything that
depends on the algorithm is read from this object: the config's keys, the server's step, what the
checkpoint keeps, what a client does beside plain training, what reports call it.

Both halves import NumPy and torch inside their functions, so that a config is checked, and the help
printed, without loading them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# The config's keys with their values.
Settings = Mapping[str, Any]
# What the server keeps of one weight array, by name: arrays of its shape.
State: TypeAlias = "dict[str, NDArray]"


@dataclass(frozen=True)
class Key:
    """A number that is a key of the config.

    Attributes:
        default: of the same type, ``float`` or ``int``, as all values.
        ge, gt, le, lt: its range: at least, more than, at most, less than; None: no limit.
    """

    default: float
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


@dataclass
class LocalTraining:
    """One round of training at a client, as the client's half of a method sees it.

    Attributes:
        settings: the config's keys with their values.
        trained: the trained parameters by name, on their device; training changes them in place.
        received: returns the global weights of these parameters, in the same order and on the same
            device. Call it before training only: the weights are kept from then on, otherwise
            they are freed.
        state: what the client keeps from round to round, by name: at first that of its last round,
            empty in its first one. What is in it after training is written to the client's folder.
    """

    settings: Settings
    trained: Mapping[str, Tensor]
    received: Callable[[], list[Tensor]]
    state: dict[str, Tensor]


class ClientHalf:
    """What a method does at a client in one round, beside plain training; by default nothing."""

    def before_step(self) -> None:
        """Called between ``backward`` and every step of the optimizer; may change gradients."""

    def after_training(self) -> None:
        """Called once, after the last step of the round; may change the weights."""


@dataclass(frozen=True)
class Method:
    """An algorithm of federated learning. All of its defaults together are federated averaging.

    Attributes:
        title: its usual spelling.
        paper: authors, title and year of its source.
        equation: where in the paper it is defined.
        keys: the config's keys that it reads. Two methods may declare the same key, if equally.
        server_init: returns the server's state of one array of trained weights before round one.
        server_step: returns the next weights and the next state of one array, from the weights
            that the clients received, the mean of theirs, and the state. It is pure and changes
            none of its arguments. Values are float32, or float64 where the weights are. None: the
            mean is the next model. Buffers and integers always take the mean.
        client_half: returns the client's half for one round; None means plain training.
    """

    title: str
    paper: str
    equation: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    server_init: Callable[[NDArray, Settings], State] | None = None
    server_step: Callable[[NDArray, NDArray, State, Settings], tuple[NDArray, State]] | None = None
    client_half: Callable[[LocalTraining], ClientHalf | None] | None = None
