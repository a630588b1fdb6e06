"""What an algorithm of federated learning says about itself, and what it does at each side.

Each file in `strategies.methods` makes one `Method`; nothing else knows its name. Everything that
depends on the algorithm is read from this object: the config's keys, what a message and a reply
hold, the server's step, what the checkpoint keeps, what a client does beside plain training and
keeps, what reports call it.

Both halves import NumPy and torch inside their functions, so that a config is checked, and the help
printed, without loading them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from strategies.field_kinds import Count, Real

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy
    from numpy.typing import NDArray
    from torch import Tensor

# The config's keys with their values.
Settings = Mapping[str, Any]
# What belongs to one weight array, by kind: arrays of its shape.
State: TypeAlias = "dict[str, NDArray]"
# What a client reports beside its arrays, by name.
Scalars = Mapping[str, "int | float"]

# Of each reply, as float32, while a strategy of Flower's own works: in float64 as it is sent, as
# Flower reads it, stacked, and partly sorted. Measured.
FLOWER_COPIES = 8


@dataclass(frozen=True)
class Key:
    """A number that is a key of the config.

    Attributes:
        default: of the same type, ``float`` or ``int``, as all values.
        ge, gt, le, lt: its range: at least, more than, at most, less than; None: no limit.
        auto: whether the config's default is ``auto``, which stands for this one. Rows of a table
            that declare the same key may then have different ones. Not in packages.
    """

    default: float
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    auto: bool = False


@dataclass(frozen=True)
class Aggregation:
    """One array of trained weights after a round, as the server's half of a method sees it.

    Arrays are float32, or float64 where the weights are, and must not be changed.

    Attributes:
        weights: what the clients received.
        mean: the mean of what they made of it.
        state: the server's state of this array, by kind.
        carried: the mean of what the clients returned of each kind in `Method.carried`.
        share: the part of all clients that the mean is of, 1 if nobody is absent: |S|/N, or with
            ``aggregation-weights = examples`` by their examples.
        replies: of each client in the mean, its weight before `Method.weight` and its scalars.
        round: number of the round that ends, from 1.
    """

    settings: Settings
    weights: NDArray
    mean: NDArray
    state: State
    carried: State = field(default_factory=dict)
    share: float = 1.0
    replies: Sequence[tuple[float, Scalars]] = ()
    round: int = 1


@dataclass
class LocalTraining:
    """One round of training at a client, as the client's half of a method sees it.

    Attributes:
        trained: the trained parameters by name, on their device; training changes them in place.
        received: returns the global weights of these parameters, in the same order and on the same
            device, or with one of `Method.carried` what came beside them. Read only. Call it before
            training only: what it returns is kept from then on, otherwise it is freed.
        learning_rate: of the optimizer in this round.
        state: what the client keeps from round to round, by name: at first that of its last round
            whose reply counted, empty before. What is in it after training is written to the
            client's folder.
        returned: to be filled with a list like that of ``received`` for each of `Method.carried`.
        scalars: to be filled with `Method.scalars`.
    """

    settings: Settings
    trained: Mapping[str, Tensor]
    received: Callable[..., list[Tensor]]
    learning_rate: float = 0.0
    state: dict[str, Tensor] = field(default_factory=dict)
    returned: dict[str, list[Tensor]] = field(default_factory=dict)
    scalars: dict[str, int | float] = field(default_factory=dict)


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
        carried: kinds of the server's state that clients receive beside the weights, and return as
            they changed them: an array for each array of trained weights. They are averaged, packed
            and checked as weights are.
        scalars: numbers that each client reports beside its arrays, by their key in its metrics:
            from the settings and its number of training images, None where that is not known, the
            range of each.
        weight: the factor of a client's weight in the mean, exact and above 0, from its scalars.
        flower: returns a strategy of Flower's own that makes the next model in the place of the
            mean, or None for the mean; see `flower_mean`.
        least_replies: returns how many replies a round needs by the method's formula; None: one.
        equal_weights: whether every client counts once, so that weights by examples are refused.
        server_init: returns the server's state of one array of trained weights before round one.
        server_step: returns the next weights and the next state of one array. It is pure. None: the
            mean is the next model. Buffers and integers always take the mean.
        client_half: returns the client's half for one round; None means plain training.
        client_state: how many arrays a client keeps for each array of trained weights.
        local: returns those of a model's arrays that are never sent by a client, from all their
            names. Each client keeps its own, and begins with the run's first ones.
        own_half: returns the client's half of a second training in each round, of a whole model
            that the client keeps for itself, beside the shared one. It begins with the first that
            the client receives.
        tuning_epochs: for how many epochs a client trains a model that it received before it judges
            it as its own.
        pooled: whether the first client trains on the training images of all, alone; only in a
            simulation.
        absent: what becomes of the state of a client that is absent, as the end of a sentence that
            a run says if that may happen; empty: it has none.
        sgd_only: whether its formulas hold for plain SGD without momentum only.
    """

    title: str
    paper: str
    equation: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    carried: tuple[str, ...] = ()
    scalars: Mapping[str, Callable[[Settings, int | None], Count | Real]] = field(
        default_factory=dict
    )
    weight: Callable[[Scalars], Fraction] | None = None
    flower: Callable[[Settings], Strategy | None] | None = None
    least_replies: Callable[[Settings], int] | None = None
    equal_weights: bool = False
    server_init: Callable[[NDArray, Settings], State] | None = None
    server_step: Callable[[Aggregation], tuple[NDArray, State]] | None = None
    client_half: Callable[[LocalTraining], ClientHalf | None] | None = None
    client_state: int = 0
    local: Callable[[Iterable[str]], set[str]] | None = None
    own_half: Callable[[LocalTraining], ClientHalf | None] | None = None
    tuning_epochs: Callable[[Settings], int] | None = None
    pooled: bool = False
    absent: str = ""
    sgd_only: bool = False

    def local_names(self, names: Iterable[str]) -> set[str]:
        """Return those of a model's arrays that stay at the clients."""
        return set() if self.local is None else self.local(names)

    def own_names(self, names: Iterable[str]) -> set[str]:
        """Return those of a model's arrays of which each client keeps its own."""
        return self.local_names(names) if self.own_half is None else set(names)

    @property
    def has_own_models(self) -> bool:
        """Whether clients have models of their own, which are judged beside the shared one."""
        return any((self.local, self.own_half, self.tuning_epochs))

    @property
    def keeps_at_clients(self) -> bool:
        """Whether a client keeps arrays from round to round."""
        return bool(self.client_state or self.local or self.own_half)


def carried_name(kind: str, name: str) -> str:
    """Return the name under which the array of a kind that belongs to a weight array is sent."""
    return f"{kind}/{name}"


def is_carried(name: str) -> bool:
    """Return whether an array with this name is sent beside the weights."""
    return "/" in name
