"""A grid of sites that may disconnect and return: a lost site is asked again if needed."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Error, Message

from fl_server.reply_grids import GridWrapper
from fl_server.streaming_grid import Arrival, StreamingGrid
from operation.flower_internals import ErrorCode, set_message_id

# Flower's own loop polls for replies every three seconds; one poll takes milliseconds.
POLL_SECONDS = 0.5
# After this long without a reply, a round names the sites it waits for.
SILENCE_SECONDS = 60.0
# After this many crashes on the same message, a process is not expected to survive another try.
MAX_CRASHES = 3

# Flower's error codes for errors that come from neither the app nor the site's guard.
LOST = {
    ErrorCode.NODE_UNAVAILABLE: "its connection was lost",
    ErrorCode.MESSAGE_UNAVAILABLE: "its reply was lost on the way",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its reply was lost on the way",
    ErrorCode.CLIENT_APP_CRASHED: "its process died",
}


@dataclass
class _Asked:
    """The state of one message."""

    message: Message  # the message as last sent; sending it again changes its id
    # Start of its site's connection when it was sent; None while it is not in transit.
    online_since: str | None = None
    # The final reply: an answer, or a refusal that asking again would not change.
    arrival: Arrival | None = None
    reason: str = "is not connected"  # why the site is lost, if it is
    crashes: int = 0  # how often its process died
    done: bool = False  # whether its reply was returned

    @property
    def node(self) -> int:
        return self.message.metadata.dst_node_id

    @property
    def under_way(self) -> bool:
        return self.online_since is not None

    @property
    def open(self) -> bool:
        return self.arrival is None and not self.done

    @property
    def lost(self) -> bool:
        return self.open and not self.under_way

    @property
    def good(self) -> bool:
        return self.arrival is not None and self.arrival.error is None


@dataclass(frozen=True)
class _Limit:
    """The longest time for a set of messages."""

    seconds: float  # infinite for none
    start: float  # of the time, as of `time.monotonic`

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end


class SiteGrid(GridWrapper):
    """A grid for sites that may be switched off, disconnected or killed at any time.

    A set of messages is done when every site has replied or is lost. If there are fewer than
    ``needed`` valid replies by then, lost sites are asked again as soon as they are back, and the
    valid replies are kept. A refusal, that is, an error raised by the app or by the site's guard,
    is not asked again. When the time is over, every site whose reply is not there completely gets
    an error with the reason. A reply that comes later is thrown away: the SuperLink frees it, and
    the message too, so that a site that is slow or silent does not fill its memory.

    Replies are read in the order of the messages, each when the caller takes it: until then it
    stays at the SuperLink, and the ServerApp has one reply at a time.

    Nothing is sent to a site that is not connected: Flower would hold the message, and with it a
    model, until the run ends.

    Args:
        grid: Flower's, read and sent in pieces.
        needed: number of valid replies that a round needs.
        waiting: called with the names of the awaited sites whenever they change; with none when the
            wait is over.
        poll_seconds: time between two polls.
    """

    def __init__(
        self,
        grid: StreamingGrid,
        names: Mapping[int, str],
        *,
        needed: int,
        waiting: Callable[[list[str]], None] = lambda names: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        super().__init__(grid)
        self._pieces = grid
        self._names = names
        self._needed = needed
        self._waiting = waiting
        self._poll_seconds = poll_seconds
        self._said: list[str] = []
        self._refused: dict[int, str] = {}
        # Ids of messages whose reply is not waited for any more.
        self._given_up: set[str] = set()

    def refuse(self, node: int, reason: str) -> None:
        """Do not ask a site any more: every message to it is answered with this reason."""
        self._refused[node] = reason

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages; yield a reply or an error from every site."""
        return self.ask(list(messages), needed=self._needed, timeout=timeout)

    def ask(
        self,
        messages: Sequence[Message],
        *,
        needed: int,
        timeout: float | None = None,
        patience: float = 0.0,
    ) -> Iterator[Message]:
        """Like `send_and_receive`, with another number of replies needed.

        Nothing is sent before the first reply is taken.

        Args:
            needed: number of valid replies that is enough.
            timeout: seconds from the first message to the last reply; None for no limit.
            patience: seconds to wait for all lost sites, even if enough replied.
        """
        asked = [_Asked(message) for message in messages]
        for one in asked:
            if one.node in self._refused:
                error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, self._refused[one.node])
                one.arrival = Arrival("", error, "")
        started = heard = time.monotonic()
        limit = _Limit(math.inf if timeout is None else timeout, started)
        first = True
        while True:
            # Both are checked before the replies: one that came in time is found, however long it
            # takes to read the others, and a site that came back since cannot have replied before.
            late = limit.over
            online = {node.node_id: node.last_activated_at for node in self._grid.get_nodes()}
            before = [one for one in asked if one.under_way]
            if self._look(asked, online):
                heard = time.monotonic()
            just_lost = [one.node for one in before if one.lost]
            for one in asked:
                if not one.done and one.arrival is not None:
                    yield from self._read(one, limit)
                if not one.done:  # later ones wait, so that the order is kept
                    break
            waited = time.monotonic() - started
            hoped = sum(one.good or one.under_way for one in asked)
            hopeless = sum(one.good or one.open for one in asked) < needed
            wanted = not (hopeless or late) and (first or hoped < needed or waited < patience)
            lost = [one for one in asked if one.lost] if wanted else []
            # A site that was just lost may be disconnected by now; the next poll shows that.
            there = online.keys() - just_lost
            self._send([one for one in lost if one.node in there], online)
            first = False
            under_way = [one for one in asked if one.under_way and not one.done]
            missed = [one for one in lost if one.lost]
            if late or not (under_way or missed):
                rest = [one for one in asked if not one.done]
                if not rest:
                    break
                yield self._close(rest[0], limit)
                continue
            silent = time.monotonic() - heard > SILENCE_SECONDS
            self._say(missed or (under_way if silent else []))
            time.sleep(self._poll_seconds)
        self._say([])

    def _close(self, one: _Asked, limit: _Limit) -> Message:
        """Return the error for a message whose reply is not waited for any more."""
        if one.under_way:
            self._lose(one, f"no answer within {limit.seconds:g} s")
        one.done = True
        return _answer(one, Error(ErrorCode.NODE_UNAVAILABLE, one.reason))

    def _lose(self, one: _Asked, reason: str) -> None:
        """Give up a message as sent; its site may be asked again with another one."""
        sent = one.message.metadata.message_id
        self._pieces.release(sent)
        self._given_up.add(sent)
        one.online_since, one.reason = None, reason

    def _read(self, one: _Asked, limit: _Limit) -> Iterator[Message]:
        """Yield a reply that has arrived; if it was lost in transit after all, its site is lost."""
        assert one.arrival is not None
        if one.arrival.error is not None:
            reply = _answer(one, one.arrival.error)
        else:
            reply = self._pieces.read(one.arrival, one.message, limit.end)
            if reply.has_error() and reply.error.code in LOST:
                one.arrival, one.reason = None, LOST[ErrorCode.MESSAGE_UNAVAILABLE]
                if limit.over:
                    one.reason = f"no complete answer within {limit.seconds:g} s"
                return
        one.done = True
        yield reply

    def _send(self, asked: Sequence[_Asked], online: Mapping[int, str]) -> None:
        if not asked:
            return
        for one in asked:
            # Its id, a hash of its content, must be new: under the old id Flower may regard it as
            # delivered, to a process that has died since.
            one.message.metadata.created_at = time.time()
        ids = self._pieces.push_messages([one.message for one in asked])
        for one, message_id in zip(asked, ids, strict=True):
            if message_id:  # otherwise the site was removed just now
                one.online_since = online[one.node]

    def _look(self, asked: Sequence[_Asked], online: Mapping[int, str]) -> bool:
        """Fetch new replies; return whether there are any that are waited for."""
        by_id = {one.message.metadata.message_id: one for one in asked if one.under_way}
        wanted = [*by_id, *self._given_up]
        come = False
        for arrival in self._pieces.arrivals(wanted) if wanted else []:
            if arrival.message in self._given_up:
                self._given_up.remove(arrival.message)
                self._pieces.release(arrival.root)
                continue
            come = True
            one = by_id[arrival.message]
            one.online_since = None
            self._pieces.release(arrival.message)  # which a site need not have confirmed
            if arrival.error:  # another reply is freed when it has been read
                self._pieces.release(arrival.root)
            code = arrival.error.code if arrival.error else None
            one.crashes += code == ErrorCode.CLIENT_APP_CRASHED
            if code in LOST and one.crashes < MAX_CRASHES:
                one.reason = LOST[code]
            else:
                one.arrival = arrival
        for one in asked:
            # Flower may not notice that a site died and came back between two polls.
            if one.under_way and online.get(one.node, one.online_since) != one.online_since:
                self._lose(one, LOST[ErrorCode.NODE_UNAVAILABLE])
        return come

    def _say(self, asked: Sequence[_Asked]) -> None:
        names = [self._names[one.node] for one in asked]
        if names != self._said:
            self._said = names
            self._waiting(names)


def _answer(one: _Asked, error: Error) -> Message:
    if not one.message.metadata.message_id:
        # Flower numbers a message when it sends it; there is no public way to avoid this.
        set_message_id(one.message, f"never sent to {one.node}")
    return Message(error, reply_to=one.message)
