"""The one strategy that runs every method: the mean of the clients' weights, then its own step."""

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from logging import INFO, WARNING
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from operation.text import quoted
from strategies.aggregation import NotFinite
from strategies.arrays import views, writable
from strategies.flower_mean import FlowerMean
from strategies.layout import LAYOUT, Layout
from strategies.replies import (
    ARRAYS,
    CONFIG,
    NUM_EXAMPLES,
    Replies,
    Reply,
    TooFewReplies,
    read_replies,
)
from strategies.round_mean import RoundMean
from strategies.server_step import ServerStep
from strategies.update_size import describe_updates, warnings

_STEP_DIVERGED = "the server's step gives weights that are not finite: the training has diverged"
_OF_NUMBERS = re.compile(r"\b(nan|inf|infinit[ey]|not finite|overflows|diverged)\b", re.IGNORECASE)
_MOST_TOLD = 3  # earlier warnings that are repeated with a failure: the first ones


@dataclass(kw_only=True, eq=False, repr=False)
class Averaging(Strategy):
    """(1/M) Σ w_i over the M clients that replied, or weighted by their examples.

    This mean is the next model, or, of a method with a step at the server, what that step starts
    from. Clients train from the weights in record ``arrays`` under the settings in record
    ``config`` and reply with arrays of the same names, shapes and dtypes and a metric record
    ``metrics`` with ``num-examples``. The settings name the ``round``, counted from 1 over the
    whole run, the ``client-index``, the last round that ``counted``, in which this client's reply
    was in the mean, and the ``best-round`` so far; both are 0 at first.

    A reply that is invalid, or whose weights no training makes (`update_ranges`), is refused with
    the client's name, and the round continues with the others. The mean is summed in the fixed
    order of the clients, so it does not depend on the order of arrival. Afterwards ``replies`` has
    the replies, and ``seconds`` the time of the clients and of the aggregation.

    Args:
        clients: names by node id, in the fixed order of the clients.
        aggregation_weights: ``equal``, or ``examples`` for weights n_i / Σ n_j.
        min_replies: number of accepted replies that a round needs, 1 to M.
        sample: returns the indices of the clients that train in a round, by its number; None: all
            do. Every client evaluates.
        rounds_done: rounds finished before this start, for a resumed run.
        constants: records by name that are sent with every message and never change, such as the
            text features that images are compared with, and the layout, which names the arrays.
        clip_updates: maximum L2 norm of a client's update; a longer one is scaled down to it before
            the mean is taken. 0: no limit.
        earlier: warnings from rounds before this start.
        step: the method's step at the server; None if it has none.
        train_layout: the layout of training messages, if it is another.
        examples: number of training images by client.
        counted: by client, the last round that counted before this start.
        best_round: the best round before this start; may be set after each round.
        own_best_rounds: the same of clients that have one of their own, by name.
        flower: what makes the next model in the place of the mean, if anything.
    """

    clients: Mapping[int, str]
    aggregation_weights: str = "equal"
    min_replies: int = 1
    sample: Callable[[int], Collection[int]] | None = None
    rounds_done: int = 0
    constants: Mapping[str, ArrayRecord | ConfigRecord] = field(default_factory=dict)
    clip_updates: float = 0.0
    earlier: Sequence[str] = ()
    step: ServerStep | None = None
    train_layout: Layout | None = None
    examples: Mapping[str, int] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)
    best_round: int = 0
    own_best_rounds: Mapping[str, int] = field(default_factory=dict)
    flower: FlowerMean | None = None

    def __post_init__(self) -> None:
        self.replies = Replies()
        self.updates: dict[str, dict[str, float | bool | None]] = {}
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}
        self._layout = self.train_layout
        if self._layout is None and LAYOUT in self.constants:
            self._layout = Layout.read(self.constants[LAYOUT])
        self._base = ArrayRecord()
        self._sent: list[Message] = []
        self._mean: RoundMean | None = None

    def summary(self) -> None:
        """Log the strategy's settings."""
        whom = self.clients if self.sample is None else self.sample(1)
        said = "averaging over %d clients, weights: %s, replies needed: %d"
        log(INFO, said, len(whom), self.aggregation_weights, self.min_replies)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return messages that ask the clients of the round to train from the global weights; they
        share one array record.
        """
        self._base = arrays
        number = self.rounds_done + server_round
        if self.flower is not None:
            self.flower.begin(number, arrays, grid)
        settings = {**config, "round": number, "best-round": self.best_round}
        own = {name: {"best-round": best} for name, best in self.own_best_rounds.items()}
        layout = {} if self._layout is None else {LAYOUT: self._layout.record()}
        whom = None if self.sample is None else self.sample(number)
        messages = self._messages(MessageType.TRAIN, arrays, settings, layout, whom=whom, own=own)
        self._mean = RoundMean(
            sent=messages,
            clients=self.clients,
            base=arrays,
            layout=self._layout,
            weigh=self._weight,
            clip_updates=self.clip_updates,
            flower=self.flower,
            check_enough=self._check_enough,
        )
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the next global weights.

        For the memory see `RoundMean.take`. A step at the server needs the received weights and one
        more model at most.

        Raises:
            TooFewReplies: fewer than ``min_replies`` were accepted; a round never silently keeps
                the old weights.
        """
        number = self.rounds_done + server_round
        what = f"round {number}"
        assert self._mean is not None
        mean, self._mean = self._mean, None
        try:
            following = mean.take(replies)
        except TooFewReplies as failure:
            raise TooFewReplies(self._with_cause(f"{what}: {failure}")) from None
        finally:
            self.replies, self.seconds, self._sent = mean.replies, mean.seconds, []
            self._name_failures(what)
        received, self._base = self._base, ArrayRecord()
        weights = {reply.client: float(self._weight(reply)) for reply in self.replies.accepted}
        self.updates = describe_updates(mean.updates, weights, self.clip_updates)
        self.warnings = warnings(mean.updates, self.clip_updates)
        self.earlier = [*self.earlier, *(f"{what}: {warning}" for warning in self.warnings)]
        for warning in self.warnings:
            log(WARNING, "%s: %s", what, warning)
        self.counted = {**self.counted, **dict.fromkeys(weights, number)}
        del mean
        if self.step is not None:
            started = time.perf_counter()
            following = self._following(self.step, received, following, number)
            self.seconds["aggregation"] += time.perf_counter() - started
        return following, None

    def _following(
        self, step: ServerStep, received: ArrayRecord, mean: ArrayRecord, number: int
    ) -> ArrayRecord:
        following = ArrayRecord()  # whose constructor would copy the arrays
        for name in list(mean):
            following[name] = writable(mean.pop(name))
        named = views if self._layout is None else self._layout.views
        try:
            step.take(
                named(received),
                named(following),
                round_number=number,
                share=self._share(),
                replies=[
                    (self._plain_weight(reply), step.scalars(reply.metrics))
                    for reply in self.replies.accepted
                ],
            )
        except NotFinite:
            raise TooFewReplies(self._with_cause(f"round {number}: {_STEP_DIVERGED}")) from None
        return following

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return no messages: validation is part of training, the final evaluation is separate."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return nothing, since no messages were sent."""
        return None

    def evaluation_messages(
        self,
        arrays: ArrayRecord,
        config: Mapping[str, str | int],
        own: Mapping[str, Mapping[str, int]] | None = None,
    ) -> list[Message]:
        """Return the messages that ask every client to evaluate a model.

        Args:
            own: settings of single clients, by name, in place of those of all.
        """
        return self._messages(MessageType.EVALUATE, arrays, config, own=own)

    def read_evaluation(self, replies: Iterable[Message]) -> Replies:
        """Read the replies to `evaluation_messages`.

        Raises:
            TooFewReplies: fewer than ``min_replies`` were accepted.
        """
        self._read(replies)
        self._name_failures("judging")
        try:
            self._check_enough(self.replies)
        except TooFewReplies as failure:
            raise TooFewReplies(self._with_cause(f"judging: {failure}")) from None
        return self.replies

    def query_messages(
        self,
        action: str,
        arrays: ArrayRecord,
        config: Mapping[str, str],
        records: Mapping[str, ArrayRecord | ConfigRecord],
    ) -> list[Message]:
        """Return messages with a query to every client, of the ClientApp's ``action``."""
        return self._messages(f"{MessageType.QUERY}.{action}", arrays, config, records)

    def read_query(self, replies: Iterable[Message]) -> Replies:
        """Read the replies to `query_messages`, however few they are."""
        return self._read(replies)

    def _messages(
        self,
        kind: str,
        arrays: ArrayRecord,
        config: Mapping[str, Any],
        records: Mapping[str, ArrayRecord | ConfigRecord] | None = None,
        *,
        whom: Collection[int] | None = None,
        own: Mapping[str, Mapping[str, int]] | None = None,
    ) -> list[Message]:
        self._sent = []
        for index, (node, name) in enumerate(self.clients.items()):
            if whom is not None and index not in whom:
                continue
            counted = self.counted.get(name, 0)
            told = {
                **config,
                "client-index": index,
                "counted": counted,
                **(own or {}).get(name, {}),
            }
            settings = {CONFIG: ConfigRecord(told)}
            content = RecordDict({ARRAYS: arrays, **settings, **self.constants, **(records or {})})
            self._sent.append(Message(content, node, kind))
        return self._sent

    def _read(self, replies: Iterable[Message]) -> Replies:
        self.replies = read_replies(self._sent, replies, clients=self.clients)
        self._sent = []
        return self.replies

    def _check_enough(self, replies: Replies) -> None:
        if len(replies.accepted) < self.min_replies:
            answered, failures = len(replies.accepted), replies.failures
            causes = "; ".join(f"{client}: {quoted(why)}" for client, why in failures.items())
            raise TooFewReplies(
                f"{answered} of {answered + len(failures)} clients answered, but "
                f"min-replies = {self.min_replies} ({causes})"
            )

    def _name_failures(self, what: str) -> None:
        for client, reason in self.replies.failures.items():
            log(WARNING, "%s: %s: %s", what, client, reason)

    def _with_cause(self, failure: str) -> str:
        """Add the named updates that may have caused it to an error about non-finite numbers."""
        if not self.earlier or not _OF_NUMBERS.search(failure):
            return failure
        return f"{failure}; look at this first: {'; '.join(self.earlier[:_MOST_TOLD])}"

    def _weight(self, reply: Reply) -> float | Fraction:
        """Return a client's weight in the mean."""
        plain = self._plain_weight(reply)
        if self.step is None or self.step.method.weight is None:
            return plain
        return Fraction(plain) * self.step.method.weight(self.step.scalars(reply.metrics))

    def _plain_weight(self, reply: Reply) -> float:
        if self.aggregation_weights == "examples":
            return float(str(reply.metrics[NUM_EXAMPLES]))
        return 1.0

    def _share(self) -> float:
        """Return the part of all clients, by weight, that the mean is of."""
        there = {reply.client: self._plain_weight(reply) for reply in self.replies.accepted}
        absent = [name for name in self.clients.values() if name not in there]
        by_examples = self.aggregation_weights == "examples"
        missing = sum(float(self.examples[name]) if by_examples else 1.0 for name in absent)
        return sum(there.values()) / (sum(there.values()) + missing)
