"""What a run's messages hold besides settings, by its method: what travels, and what stays."""

from collections.abc import Iterable, Mapping

from flwr.app import ArrayRecord, ConfigRecord
from numpy.typing import NDArray

from strategies.layout import LAYOUT, Layout, LayoutError
from strategies.method import Method, Settings, is_carried
from strategies.refusal import Refused
from strategies.replies import ARRAYS
from strategies.reply_form import Content
from strategies.server_step import ServerStep

# The first values of the arrays that stay at the clients, and their layout.
LOCAL = "local"
LOCAL_LAYOUT = "local-layout"


class Exchange:
    """The arrays of a run, divided into those that travel and those that stay at the clients.

    Clients are sent what is shared in record ``arrays`` and return it trained; in a training
    message what the method carries is appended. What stays is sent in its first values only, which
    never change, as record ``local``. The arrays are in the order of their names: sums over all of
    them, such as an update's norm, are rounded by their order, and a file of weights has another
    than the network.

    Args:
        weights: the sent part of the network, at the start of this process.
        trained: the names of its trained parameters.
        state: the server's of the last finished round; None before round one.

    Attributes:
        layout: of what is shared.
        train_layout: of what is shared and carried.

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
        weights = dict(sorted(weights.items()))
        local = method.local_names(weights)
        self._local = {name: array for name, array in weights.items() if name in local}
        shared = {name: array for name, array in weights.items() if name not in local}
        self.layout = self.train_layout = Layout.of(shared)
        self.step: ServerStep | None = None
        carried: dict[str, NDArray] = {}
        if method.server_step is not None:
            of_step = [name for name in trained if name in shared]
            self.step = ServerStep(method, settings, shared, of_step, state)
            carried = dict(sorted(self.step.carried.items()))
            self.step.carried = {}
        if carried:
            self.train_layout = Layout.of({**shared, **carried})
        self.first: ArrayRecord = self.train_layout.flatten({**shared, **carried})

    @property
    def local_names(self) -> set[str]:
        """Names of the arrays that stay at the clients."""
        return set(self._local)

    @property
    def num_local(self) -> int:
        """How many of the arrays stay at the clients."""
        return len(self._local)

    def constants(self) -> dict[str, ArrayRecord | ConfigRecord]:
        """Return the records that are sent with every message and never change."""
        constants: dict[str, ArrayRecord | ConfigRecord] = {LAYOUT: self.layout.record()}
        if self._local:
            layout = Layout.of(self._local)
            constants[LOCAL] = layout.flatten(self._local)
            constants[LOCAL_LAYOUT] = layout.record()
        return constants

    def weights(self, arrays: ArrayRecord) -> dict[str, NDArray]:
        """Return the whole sent part from what a round ended with, as views.

        It is what is shared, and of what stays the first values, since nobody knows the clients'.
        """
        shared = self.train_layout.views(arrays).items()
        return {name: array for name, array in shared if not is_carried(name)} | self._local

    def server_state(self, arrays: ArrayRecord) -> dict[str, NDArray]:
        """Return the server's state after a round, for the checkpoint."""
        if self.step is None:
            return {}
        whole = self.train_layout.views(arrays).items()
        return {name: array for name, array in whole if is_carried(name)} | self.step.state

    def to_evaluate(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return what is evaluated of what a round ended with: the same record if nothing is
        carried, otherwise a copy of what is shared; the record is then empty.
        """
        if self.train_layout is self.layout:
            return arrays
        sent = self.pack(self.weights(arrays))
        arrays.clear()
        return sent

    def pack(self, weights: Mapping[str, NDArray]) -> ArrayRecord:
        """Return what is shared of a whole sent part, as it is sent to be evaluated."""
        return self.layout.flatten({name: weights[name] for name in self.layout.signature})

    def evaluated(self, sent: ArrayRecord) -> dict[str, NDArray]:
        """Return the whole sent part of a record of `to_evaluate` or `pack`, as views."""
        return self.layout.views(sent) | self._local


def arrays_of(content: Mapping[str, object]) -> dict[str, NDArray]:
    """Return the arrays in a message's content by name, as views: what travels, and the first
    values of what stays.

    Raises:
        LayoutError: a record is missing or damaged.
    """
    found: dict[str, NDArray] = {}
    for record, layout in ((ARRAYS, LAYOUT), (LOCAL, LOCAL_LAYOUT)):
        if record == ARRAYS or record in content:
            arrays = content.get(record)
            if not isinstance(arrays, ArrayRecord):
                raise LayoutError(f"the record {record!r} is missing, or holds no arrays")
            found |= Layout.read(content.get(layout)).views(arrays)
    return found


def check_what_travels(method: Method, request: Content) -> None:
    """Check that a training message asks for no other arrays than its method declares.

    Args:
        request: the content of the message, whose arrays fit their layouts.

    Raises:
        Refused: it asks for an array that stays at the client, or carries something else.
    """
    try:
        asked = Layout.read(request.configs.get(LAYOUT)).signature
        local = request.configs.get(LOCAL_LAYOUT)
        whole = {*asked, *(Layout.read(local).signature if local is not None else ())}
    except LayoutError as error:
        raise Refused(str(error)) from None
    weights = {name for name in whole if not is_carried(name)}
    if back := method.local_names(weights) & asked.keys():
        raise Refused(f"it asks for what stays at clients with {method.title}", min(back))
    for name in whole - weights:
        kind, _, of = name.partition("/")
        if kind not in method.carried or of not in asked or asked[of][1] != asked[name][1]:
            raise Refused(f"it sends what {method.title} does not carry", name)
