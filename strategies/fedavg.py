"""Federated averaging, as the study (docs/study.md) defines it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from logging import INFO, WARNING
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from strategies.aggregation import NotFinite, in_threads, mean_into
from strategies.arrays import Blank
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

_DIVERGED = "the mean of finite weights overflows: the training has diverged"


class FedAvg(Strategy):
    """w_glo = (1/M) Σ w_i over the M clients that answered, or weighted by their examples.

    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data,
    2017, Algorithm 1; the study takes every client in every round, all with equal weight. Clients
    train from the weights in record ``arrays`` under the settings in record ``config``
    (``round``, counted from 1 over the whole run, and ``client-index``) and reply with arrays of
    the same names, shapes and dtypes and a metric record ``metrics`` with ``num-examples``.

    A reply that does not fit, or that holds NaN or infinity, is refused by name and the round
    goes on with the others; the mean is taken in the fixed order of the clients, so that it does
    not depend on who answers first. Afterwards ``replies`` holds what came back, and ``seconds``
    how long the clients and the aggregation took.

    Args:
        clients: names by node id, in the fixed order of the clients.
        aggregation_weights: ``equal``, or ``examples`` for weights n_i / Σ n_j.
        min_replies: how many accepted replies make a round, 1 to M.
        rounds_done: rounds finished before this start, for a run that goes on.
        constants: records by name that travel with every message and never change, such as the
            text features that images are compared with.
    """

    def __init__(
        self,
        *,
        clients: Mapping[int, str],
        aggregation_weights: str = "equal",
        min_replies: int = 1,
        rounds_done: int = 0,
        constants: Mapping[str, ArrayRecord | ConfigRecord] | None = None,
    ) -> None:
        self.clients = dict(clients)
        self.aggregation_weights = aggregation_weights
        self.min_replies = min_replies
        self.rounds_done = rounds_done
        self.constants = dict(constants or {})
        self.replies = Replies()
        self.seconds: dict[str, float] = {}
        self._sent_at = 0.0
        self._sent: list[Message] = []
        self._expected: dict[str, tuple[str, tuple[int, ...]]] = {}

    def summary(self) -> None:
        """Log what this strategy will do."""
        log(
            INFO,
            "%s over %d clients, weights: %s, replies needed: %d",
            type(self).__name__,
            len(self.clients),
            self.aggregation_weights,
            self.min_replies,
        )

    def client_settings(self) -> dict[str, float]:
        """Return what a client needs to know of the strategy, for its message's config."""
        return {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every client to train from the global weights; they share one record of arrays."""
        self._expected = {name: (a.dtype, tuple(a.shape)) for name, a in arrays.items()}
        settings = {**config, **self.client_settings(), "round": self.rounds_done + server_round}
        return self._messages(MessageType.TRAIN, arrays, settings)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the next global weights.

        Holds one model besides the replies where they are a sequence, in memory anyway. Else it
        takes one after the other and holds the sum and one reply.

        Raises:
            TooFewReplies: fewer than ``min_replies`` were accepted; never a silent round on the
                old weights.
        """
        what = f"round {self.rounds_done + server_round}"
        if isinstance(replies, Sequence):
            return self._average_all(replies, what), None
        return self._average_each(replies, what), None

    def _average_all(self, replies: Sequence[Message], what: str) -> ArrayRecord:
        self._read(replies, expected=self._expected)
        started = time.perf_counter()
        self.seconds["clients"] = started - self._sent_at
        while True:
            self._check_enough(what)
            try:
                mean = self._mean()
            except NotFinite:
                self._refuse_not_finite()
            else:
                self._let_go(replies)
                self.seconds["aggregation"] = time.perf_counter() - started
                return mean

    def _average_each(self, replies: Iterable[Message], what: str) -> ArrayRecord:
        self.replies, mean, seconds = Replies(), RunningMean(), 0.0
        read = each_reply(
            self._sent, replies, clients=self.clients, expected=self._expected, result=self.replies
        )
        for reply in read:
            started = time.perf_counter()
            self.replies.accepted.append(reply)
            if name := not_finite(reply):
                self.replies.refuse(reply.client, _not_finite(name))
            else:
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
            raise TooFewReplies(_DIVERGED) from None
        self.seconds["aggregation"] = time.perf_counter() - started + seconds
        return result

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send no messages: validation travels with training, and the end is judged apart."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return nothing, since nothing was asked."""
        return None

    def evaluation_messages(
        self, arrays: ArrayRecord, config: Mapping[str, str | int]
    ) -> list[Message]:
        """Return the messages that ask every client to judge a model."""
        return self._messages(MessageType.EVALUATE, arrays, config)

    def read_evaluation(self, replies: Iterable[Message]) -> Replies:
        """Read the answers to `evaluation_messages`.

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
        """Return the messages that ask every client for something of its own.

        Args:
            action: the name that the ClientApp knows it by.
            arrays: a model.
            config: settings.
            records: what else travels.
        """
        return self._messages(f"{MessageType.QUERY}.{action}", arrays, config, records)

    def read_query(self, replies: Iterable[Message]) -> Replies:
        """Read the answers to `query_messages`, however few they are."""
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
        for client, reason in self.replies.failures.items():
            log(WARNING, "%s: %s: %s", what, client, reason)
        if len(self.replies.accepted) < self.min_replies:
            causes = "; ".join(f"{c}: {reason}" for c, reason in self.replies.failures.items())
            raise TooFewReplies(
                f"{what}: {len(self.replies.accepted)} of {len(self.clients)} clients answered, "
                f"but min-replies = {self.min_replies} ({causes})"
            )

    def _mean(self) -> ArrayRecord:
        replies = self.replies.accepted
        weights = [self._weight(reply) for reply in replies]
        arrays = [reply.arrays for reply in replies]
        blanks = {name: Blank(a.dtype, a.shape) for name, a in arrays[0].items()}

        def fill(name: str, part: slice) -> None:
            pieces = [one[name].reshape(-1)[part] for one in arrays]
            mean_into(blanks[name].values.reshape(-1)[part], pieces, weights)

        in_threads({name: array.size for name, array in arrays[0].items()}, fill)
        return ArrayRecord({name: blank.finish() for name, blank in blanks.items()})

    def _weight(self, reply: Reply) -> float:
        if self.aggregation_weights == "examples":
            return float(str(reply.metrics[NUM_EXAMPLES]))
        return 1.0

    def _let_go(self, replies: Sequence[Message]) -> None:
        """Free the clients' weights: Flower's loop would keep the list over the next round."""
        for reply in self.replies.accepted:
            reply.record = ArrayRecord()
        if isinstance(replies, list):
            replies.clear()

    def _refuse_not_finite(self) -> None:
        """Find whose numbers spoiled the mean; looked for only once it is spoiled."""
        found = {reply.client: not_finite(reply) for reply in self.replies.accepted}
        for client, name in found.items():
            if name is not None:
                self.replies.refuse(client, _not_finite(name))
        if not any(found.values()):
            raise TooFewReplies(_DIVERGED)


def _not_finite(name: str) -> str:
    return f"its array {name!r} holds NaN or infinity"
