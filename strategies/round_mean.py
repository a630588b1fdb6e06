"""The mean of a round's valid replies, taken from all at once or from one after the other."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flwr.app import ArrayRecord, Message

from strategies.aggregation import NotFinite, RunningMean
from strategies.flower_mean import FlowerMean
from strategies.layout import Layout, Signature
from strategies.replies import Replies, Reply, TooFewReplies, each_reply, not_finite, read_replies
from strategies.update_measures import mean_and_updates, measure
from strategies.update_ranges import out_of_range, too_long
from strategies.update_size import clip_factor, clipped
from strategies.update_sketch import Update

_DIVERGED = "the mean of finite weights overflows: the training has diverged"


@dataclass(kw_only=True, eq=False, repr=False)
class RoundMean:
    """The mean of what the clients returned, in their fixed order; both ways give the same bits.

    A reply whose arrays no training makes (`update_ranges`), or which are not finite, is refused
    with the client's name, and the mean is that of the others.

    Attributes:
        sent: the round's messages, in the fixed order of the clients.
        clients: names by node id, in that order.
        base: the arrays that were sent.
        layout: their layout if they are concatenated.
        weigh: a client's weight in the mean, above 0.
        clip_updates: maximum L2 norm of an update, 0 for none.
        flower: what makes the next arrays in the place of the mean, if anything.
        check_enough: raises `TooFewReplies` if too few replies are left.
        updates: the measurements of each client in the mean.
        seconds: the time of the ``clients`` and of the ``aggregation``.
    """

    sent: Sequence[Message]
    clients: Mapping[int, str]
    base: ArrayRecord
    layout: Layout | None
    weigh: Callable[[Reply], float | Fraction]
    clip_updates: float
    flower: FlowerMean | None
    check_enough: Callable[[Replies], None]

    def __post_init__(self) -> None:
        self._expected: Signature = {n: (a.dtype, tuple(a.shape)) for n, a in self.base.items()}
        self._started = time.perf_counter()
        self.replies = Replies()
        self.updates: dict[str, Update] = {}
        self.seconds: dict[str, float] = {}

    def take(self, replies: Iterable[Message]) -> ArrayRecord:
        """Return the mean; the clients' weights are freed.

        If the replies are a sequence, all are in memory, and one more model is held. Otherwise they
        are processed one after the other, and the sum and one reply are held; a strategy of
        Flower's own needs all.

        Raises:
            TooFewReplies: too few are valid, or the mean overflows.
        """
        # A clipped update is a copy, so they are processed one after the other, and there is one
        # copy at a time.
        if self.flower is not None:
            mean = self._of_all(list(replies))
        elif isinstance(replies, Sequence) and not self.clip_updates:
            mean = self._of_all(replies)
        else:
            mean = self._one_by_one(replies)
        if isinstance(replies, list):
            replies.clear()  # Flower's loop would hold the list during the next round
        return mean

    def _of_all(self, replies: Sequence[Message]) -> ArrayRecord:
        self.replies = read_replies(
            self.sent, replies, clients=self.clients, expected=self._expected
        )
        started = time.perf_counter()
        self.seconds["clients"] = started - self._started
        for reply in self.replies.accepted:
            self._hold_range(reply)
        while True:
            self._need_enough()
            accepted = self.replies.accepted
            records = [reply.record for reply in accepted]
            weights = [self.weigh(reply) for reply in accepted]
            try:
                mean, updates = self._combine(records, weights)
            except NotFinite:
                if self._refuse_not_finite(accepted):
                    continue
                if not self._refuse_too_long(accepted, self._measure(accepted)):
                    raise TooFewReplies(_DIVERGED) from None
            else:
                if self._refuse_too_long(accepted, updates):
                    continue
                self.updates = dict(zip((r.client for r in accepted), updates, strict=True))
                for reply in accepted:
                    reply.record = ArrayRecord()
                self.seconds["aggregation"] = time.perf_counter() - started
                return mean

    def _combine(
        self, records: Sequence[ArrayRecord], weights: Sequence[float | Fraction]
    ) -> tuple[ArrayRecord, list[Update]]:
        if self.flower is None:
            return mean_and_updates(records, weights, self.base, self.layout)
        updates = [measure(record, self.base, self.layout) for record in records]
        if not all(update.is_finite for update in updates):
            raise NotFinite
        factors = [clip_factor(update.norm, self.clip_updates) for update in updates]
        shortened = [
            record if factor == 1 else clipped(record, self.base, factor)
            for record, factor in zip(records, factors, strict=True)
        ]
        return self.flower.of(shortened, weights), updates

    def _one_by_one(self, replies: Iterable[Message]) -> ArrayRecord:
        mean, last = RunningMean(), 0.0
        read = each_reply(
            self.sent, replies, clients=self.clients, expected=self._expected, result=self.replies
        )
        for reply in read:
            started = time.perf_counter()
            self.replies.accepted.append(reply)
            update = measure(reply.record, self.base, self.layout)
            kept = self._hold_range(reply)
            if kept and not update.is_finite:
                kept = not self._refuse_not_finite([reply])
            if kept and not self._refuse_too_long([reply], [update]):
                self.updates[reply.client] = update
                factor = clip_factor(update.norm, self.clip_updates)
                if factor < 1:
                    reply.record = clipped(reply.record, self.base, factor)
                mean.add(reply.record, self.weigh(reply))
            reply.record = ArrayRecord()
            # Of the others nothing is left when the last reply is read.
            last = time.perf_counter() - started
        started = time.perf_counter()
        self.seconds["clients"] = started - self._started - last
        self._need_enough()
        try:
            result = mean.finish()
        except NotFinite:
            raise TooFewReplies(_DIVERGED) from None
        self.seconds["aggregation"] = time.perf_counter() - started + last
        return result

    def _need_enough(self) -> None:
        try:
            self.check_enough(self.replies)
        except TooFewReplies:
            # So that all failed clients are named together.
            self._refuse_not_finite(self.replies.accepted)
            held = [reply for reply in self.replies.accepted if reply.record]
            self._refuse_too_long(held, self._measure(held))
            self.check_enough(self.replies)

    def _measure(self, replies: Iterable[Reply]) -> list[Update]:
        return [measure(reply.record, self.base, self.layout) for reply in replies]

    def _hold_range(self, reply: Reply) -> bool:
        """Refuse weights that no training makes; return whether they are kept."""
        fault = out_of_range(reply.record, self.base, self.layout)
        if fault is not None:
            self.replies.refuse(reply.client, fault)
        return fault is None

    def _refuse_not_finite(self, replies: Iterable[Reply]) -> bool:
        """Refuse clients whose weights are not finite, naming the array; return whether there are
        any.

        Only called after a non-finite mean.
        """
        found = {reply.client: not_finite(reply, self.layout) for reply in replies if reply.record}
        for client, name in found.items():
            if name is not None:
                self.replies.refuse(client, f"its array {name!r} holds NaN or infinity")
        return any(found.values())

    def _refuse_too_long(self, replies: Sequence[Reply], updates: Sequence[Update]) -> bool:
        """Refuse clients whose finite update no training makes; return whether there are any."""
        found = {
            reply.client: too_long(update, self.base, self.layout)
            for reply, update in zip(replies, updates, strict=True)
        }
        for client, fault in found.items():
            if fault is not None:
                self.replies.refuse(client, fault)
        return any(found.values())
