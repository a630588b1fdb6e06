"""The one strategy that runs every method: the mean of the clients' weights, then its own step."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from logging import INFO, WARNING
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from operation.text import quoted
from strategies.aggregation import NotFinite
from strategies.arrays import views, writable
from strategies.layout import LAYOUT, Layout
from strategies.replies import (
    ARRAYS,
    CONFIG,
    NUM_EXAMPLES,
    Replies,
    Reply,
    TooFewReplies,
    each_reply,
    not_finite,
    read_replies,
)
from strategies.running_mean import RunningMean
from strategies.server_step import ServerStep
from strategies.update_measures import mean_and_updates, measure
from strategies.update_ranges import out_of_range, too_long
from strategies.update_size import clip_factor, clipped, describe, warnings
from strategies.update_sketch import Update

_DIVERGED = "the mean of finite weights overflows: the training has diverged"
_STEP_DIVERGED = "the server's step gives weights that are not finite: the training has diverged"
_OF_NUMBERS = re.compile(r"\b(nan|inf|infinit[ey]|not finite|overflows|diverged)\b", re.IGNORECASE)
# The maximum number of earlier warnings that are repeated with a failure: the first ones, where it
# began.
_MOST_TOLD = 3


class Averaging(Strategy):
    """(1/M) Σ w_i over the M clients that replied, or weighted by their examples.

    This mean is the next model, or, of a method with a step at the server, what that step starts
    from. Clients train from the weights in record ``arrays`` under the settings in record
    ``config`` (``round``, counted from 1 over the whole run, and ``client-index``) and reply with
    arrays of the same names, shapes and dtypes and a metric record ``metrics`` with
    ``num-examples``.

    A reply that is invalid, or whose weights no training makes (`update_ranges`), is refused with
    the client's name, and the round continues with the others. The mean is summed in the fixed
    order of the clients, so it does not depend on the order of arrival. Afterwards ``replies`` has
    the replies, and ``seconds`` the time of the clients and of the aggregation.

    Args:
        clients: names by node id, in the fixed order of the clients.
        aggregation_weights: ``equal``, or ``examples`` for weights n_i / Σ n_j.
        min_replies: number of accepted replies that a round needs, 1 to M.
        rounds_done: rounds finished before this start, for a resumed run.
        constants: records by name that are sent with every message and never change, such as the
            text features that images are compared with, and the layout, which names the arrays.
        clip_updates: maximum L2 norm of a client's update; a longer one is scaled down to it before
            the mean is taken. 0: no limit.
        earlier: warnings from rounds before this start.
        step: the method's step at the server; None if it has none.
    """

    def __init__(
        self,
        *,
        clients: Mapping[int, str],
        aggregation_weights: str = "equal",
        min_replies: int = 1,
        rounds_done: int = 0,
        constants: Mapping[str, ArrayRecord | ConfigRecord] | None = None,
        clip_updates: float = 0.0,
        earlier: Sequence[str] = (),
        step: ServerStep | None = None,
    ) -> None:
        self.clients = dict(clients)
        self.aggregation_weights = aggregation_weights
        self.min_replies = min_replies
        self.rounds_done = rounds_done
        self.constants = dict(constants or {})
        self.clip_updates = clip_updates
        self.earlier = list(earlier)
        self.step = step
        self.replies = Replies()
        self.updates: dict[str, dict[str, float | bool | None]] = {}
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}
        self._base = ArrayRecord()
        self._sent_at = 0.0
        self._sent: list[Message] = []
        self._expected: dict[str, tuple[str, tuple[int, ...]]] = {}

    def summary(self) -> None:
        """Log the strategy's settings."""
        log(
            INFO,
            "averaging over %d clients, weights: %s, replies needed: %d",
            len(self.clients),
            self.aggregation_weights,
            self.min_replies,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return messages that ask every client to train from the global weights; they share one
        array record.
        """
        self._base = arrays
        self._expected = {name: (a.dtype, tuple(a.shape)) for name, a in arrays.items()}
        settings = {**config, "round": self.rounds_done + server_round}
        return self._messages(MessageType.TRAIN, arrays, settings)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the next global weights.

        If the replies are a sequence, all are in memory, and one more model is held. Otherwise they
        are processed one after the other, and the sum and one reply are held. A step at the server
        needs the received weights and one more model at most.

        Raises:
            TooFewReplies: fewer than ``min_replies`` were accepted; a round never silently keeps
                the old weights.
        """
        what = f"round {self.rounds_done + server_round}"
        received = ArrayRecord() if self.step is None else self._base
        # A clipped update is a copy, so they are processed one after the other, and there is one
        # copy at a time.
        if isinstance(replies, Sequence) and not self.clip_updates:
            mean = self._average_all(replies, what)
        else:
            mean = self._average_each(replies, what)
        if self.step is None:
            return mean, None
        started = time.perf_counter()
        following = self._following(self.step, received, mean, what)
        self.seconds["aggregation"] += time.perf_counter() - started
        return following, None

    def _following(
        self, step: ServerStep, received: ArrayRecord, mean: ArrayRecord, what: str
    ) -> ArrayRecord:
        following = ArrayRecord()  # whose constructor would copy the arrays
        for name in list(mean):
            following[name] = writable(mean.pop(name))
        layout = self._names()
        named = views if layout is None else layout.views
        try:
            step.take(named(received), named(following))
        except NotFinite:
            raise TooFewReplies(self._with_cause(f"{what}: {_STEP_DIVERGED}")) from None
        return following

    def _average_all(self, replies: Sequence[Message], what: str) -> ArrayRecord:
        self._read(replies, expected=self._expected)
        started = time.perf_counter()
        self.seconds["clients"] = started - self._sent_at
        names = self._names()
        for reply in self.replies.accepted:
            self._hold_range(reply)
        while True:
            self._check_enough(what)
            accepted = self.replies.accepted
            records = [reply.record for reply in accepted]
            weights = [self._weight(reply) for reply in accepted]
            try:
                mean, updates = mean_and_updates(records, weights, self._base, names)
            except NotFinite:
                if self._refuse_not_finite(accepted):
                    continue
                updates = [measure(record, self._base, names) for record in records]
                if not self._refuse_too_long(accepted, updates):
                    raise TooFewReplies(self._with_cause(f"{what}: {_DIVERGED}")) from None
            else:
                if self._refuse_too_long(accepted, updates):
                    continue
                self._tell(what, dict(zip((r.client for r in accepted), updates, strict=True)))
                self._let_go(replies)
                self.seconds["aggregation"] = time.perf_counter() - started
                return mean

    def _average_each(self, replies: Iterable[Message], what: str) -> ArrayRecord:
        self.replies, mean, seconds = Replies(), RunningMean(), 0.0
        updates: dict[str, Update] = {}
        names = self._names()
        read = each_reply(
            self._sent, replies, clients=self.clients, expected=self._expected, result=self.replies
        )
        for reply in read:
            started = time.perf_counter()
            self.replies.accepted.append(reply)
            update = measure(reply.record, self._base, names)
            kept = self._hold_range(reply)
            if kept and not update.is_finite:
                kept = not self._refuse_not_finite([reply])
            if kept and not self._refuse_too_long([reply], [update]):
                updates[reply.client] = update
                factor = clip_factor(update.norm, self.clip_updates)
                if factor < 1:
                    reply.record = clipped(reply.record, self._base, factor)
                mean.add(reply.record, self._weight(reply))
            reply.record = ArrayRecord()
            seconds += time.perf_counter() - started
        self._sent = []
        started = time.perf_counter()
        self.seconds["clients"] = started - self._sent_at - seconds
        self._check_enough(what)
        try:
            result = mean.finish()
        except NotFinite:
            raise TooFewReplies(self._with_cause(f"{what}: {_DIVERGED}")) from None
        self._tell(what, updates)
        if isinstance(replies, list):
            replies.clear()
        self.seconds["aggregation"] = time.perf_counter() - started + seconds
        return result

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
        self, arrays: ArrayRecord, config: Mapping[str, str | int]
    ) -> list[Message]:
        """Return the messages that ask every client to evaluate a model."""
        return self._messages(MessageType.EVALUATE, arrays, config)

    def read_evaluation(self, replies: Iterable[Message]) -> Replies:
        """Read the replies to `evaluation_messages`.

        Raises:
            TooFewReplies: fewer than ``min_replies`` were accepted.
        """
        self._read(replies, expected={})
        self._check_enough("judging")
        return self.replies

    def query_messages(
        self,
        action: str,
        arrays: ArrayRecord,
        config: Mapping[str, str],
        records: Mapping[str, ArrayRecord],
    ) -> list[Message]:
        """Return messages with a query to every client.

        Args:
            action: the query's name in the ClientApp.
            arrays: a model.
            config: settings.
            records: further records to send.
        """
        return self._messages(f"{MessageType.QUERY}.{action}", arrays, config, records)

    def read_query(self, replies: Iterable[Message]) -> Replies:
        """Read the replies to `query_messages`, however few they are."""
        self._read(replies, expected={})
        return self.replies

    def _messages(
        self,
        kind: str,
        arrays: ArrayRecord,
        config: Mapping[str, Any],
        records: Mapping[str, ArrayRecord] | None = None,
    ) -> list[Message]:
        self._sent = []
        for index, node in enumerate(self.clients):
            own = ConfigRecord({**config, "client-index": index})
            content = RecordDict({ARRAYS: arrays, CONFIG: own, **self.constants, **(records or {})})
            self._sent.append(Message(content, node, kind))
        self._sent_at = time.perf_counter()
        return self._sent

    def _read(
        self, replies: Iterable[Message], expected: Mapping[str, tuple[str, tuple[int, ...]]]
    ) -> None:
        self.replies = read_replies(self._sent, replies, clients=self.clients, expected=expected)
        self._sent = []

    def _check_enough(self, what: str) -> None:
        if len(self.replies.accepted) < self.min_replies:
            # So that all failed clients are named together.
            self._refuse_not_finite(self.replies.accepted)
            names = self._names()
            held = [reply for reply in self.replies.accepted if reply.record]
            self._refuse_too_long(
                held, [measure(reply.record, self._base, names) for reply in held]
            )
        for client, reason in self.replies.failures.items():
            log(WARNING, "%s: %s: %s", what, client, reason)
        if len(self.replies.accepted) < self.min_replies:
            failures = self.replies.failures.items()
            causes = "; ".join(f"{client}: {quoted(reason)}" for client, reason in failures)
            raise TooFewReplies(
                self._with_cause(
                    f"{what}: {len(self.replies.accepted)} of {len(self.clients)} clients "
                    f"answered, but min-replies = {self.min_replies} ({causes})"
                )
            )

    def _tell(self, what: str, updates: Mapping[str, Update]) -> None:
        """Store and log the norms of the updates; free all weights except the mean."""
        self._base = ArrayRecord()
        weights = {reply.client: self._weight(reply) for reply in self.replies.accepted}
        self.updates = describe(updates, weights, self.clip_updates)
        self.warnings = warnings(updates, self.clip_updates)
        self.earlier += [f"{what}: {warning}" for warning in self.warnings]
        for warning in self.warnings:
            log(WARNING, "%s: %s", what, warning)

    def _with_cause(self, failure: str) -> str:
        """Add the named updates that may have caused it to an error about non-finite numbers."""
        if not self.earlier or not _OF_NUMBERS.search(failure):
            return failure
        return f"{failure}; look at this first: {'; '.join(self.earlier[:_MOST_TOLD])}"

    def _weight(self, reply: Reply) -> float:
        if self.aggregation_weights == "examples":
            return float(str(reply.metrics[NUM_EXAMPLES]))
        return 1.0

    def _let_go(self, replies: Sequence[Message]) -> None:
        """Free the clients' weights: Flower's loop would hold the list during the next round."""
        for reply in self.replies.accepted:
            reply.record = ArrayRecord()
        if isinstance(replies, list):
            replies.clear()

    def _names(self) -> Layout | None:
        layout = self.constants.get(LAYOUT)
        return Layout.read(layout) if layout is not None else None

    def _hold_range(self, reply: Reply) -> bool:
        """Refuse weights that no training makes; return whether they are kept."""
        fault = out_of_range(reply.record, self._base, self._names())
        if fault is not None:
            self.replies.refuse(reply.client, fault)
        return fault is None

    def _refuse_not_finite(self, replies: Iterable[Reply]) -> bool:
        """Refuse clients whose weights are not finite, naming the array; return whether there are
        any.

        Only called after a non-finite mean.
        """
        names = self._names()
        found = {reply.client: not_finite(reply, names) for reply in replies if reply.record}
        for client, name in found.items():
            if name is not None:
                self.replies.refuse(client, f"its array {name!r} holds NaN or infinity")
        return any(found.values())

    def _refuse_too_long(self, replies: Sequence[Reply], updates: Sequence[Update]) -> bool:
        """Refuse clients whose finite update no training makes; return whether there are any."""
        names = self._names()
        found = {
            reply.client: too_long(update.norm, self._base, names)
            for reply, update in zip(replies, updates, strict=True)
        }
        for client, fault in found.items():
            if fault is not None:
                self.replies.refuse(client, fault)
        return any(found.values())
