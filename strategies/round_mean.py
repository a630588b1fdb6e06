"""The mean of a round's valid replies, taken from one after the other."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flwr.app import ArrayRecord, Message

from strategies.aggregation import NotFinite, RunningMean
from strategies.flower_mean import FlowerMean
from strategies.layout import Layout, Signature
from strategies.replies import Replies, Reply, TooFewReplies, each_reply, not_finite
from strategies.update_measures import measure
from strategies.update_ranges import out_of_range, too_long
from strategies.update_size import clip_factor, clipped
from strategies.update_sketch import Update

_DIVERGED = "the mean of finite weights overflows: the training has diverged"


@dataclass(kw_only=True, eq=False, repr=False)
class RoundMean:
    """The mean of what the clients returned, in their fixed order.

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

        Replies are processed one after the other, as they come: besides the sum, one is held. A
        strategy of Flower's own needs all.

        Raises:
            TooFewReplies: too few are valid, or the mean overflows.
        """
        mean = RunningMean() if self.flower is None else self.flower
        last = 0.0
        read = each_reply(
            self.sent, replies, clients=self.clients, expected=self._expected, result=self.replies
        )
        for reply in read:
            started = time.perf_counter()
            update = measure(reply.record, self.base, self.layout)
            fault = self._fault(reply, update)
            if fault is not None:
                self.replies.failures[reply.client] = fault
            else:
                self.replies.accepted.append(reply)
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
        self.check_enough(self.replies)
        try:
            result = mean.finish()
        except NotFinite:
            raise TooFewReplies(_DIVERGED) from None
        self.seconds["aggregation"] = time.perf_counter() - started + last
        return result

    def _fault(self, reply: Reply, update: Update) -> str | None:
        """Return why no training makes a reply's weights, None if it may."""
        fault = out_of_range(reply.record, self.base, self.layout)
        if fault is not None:
            return fault
        if not update.is_finite:
            name = not_finite(reply, self.layout)
            if name is not None:
                return f"its array {name!r} holds NaN or infinity"
        return too_long(update, self.base, self.layout)
