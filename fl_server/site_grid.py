"""A grid of sites that go and come back: whoever is lost is asked again where it is needed."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

# Flower's own loop looks for replies every three seconds; a look takes milliseconds.
POLL_SECONDS = 0.5
# A round says for whom it waits when nobody has answered for so long.
SILENCE_SECONDS = 60.0
# A process that dies on the same message so often will not survive the next time.
MAX_CRASHES = 3

# What Flower says when it was not the app or the site's guard that answered.
LOST = {
    ErrorCode.NODE_UNAVAILABLE: "its connection was lost",
    ErrorCode.MESSAGE_UNAVAILABLE: "its reply was lost on the way",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its reply was lost on the way",
    ErrorCode.CLIENT_APP_CRASHED: "its process died",
}


@dataclass
class _Asked:
    """How one message fares.

    Attributes:
        message: as it was sent last; sending it again changes its id.
        online_since: since when its site was connected at that time; None while the message is
            not under way.
        reply: what counts: an answer, or a refusal that asking again would not change.
        reason: why the site is lost, if it is.
        crashes: how often its process died.
    """

    message: Message
    online_since: str | None = None
    reply: Message | None = None
    reason: str = "is not connected"
    crashes: int = 0

    @property
    def node(self) -> int:
        return self.message.metadata.dst_node_id

    @property
    def under_way(self) -> bool:
        return self.online_since is not None

    @property
    def lost(self) -> bool:
        return self.reply is None and not self.under_way

    @property
    def good(self) -> bool:
        return self.reply is not None and not self.reply.has_error()


class SiteGrid(Grid):
    """Flower's grid, but for sites that may be switched off, cut off or killed at any time.

    A set of messages is done when every site has answered or is lost. If fewer than ``needed``
    answers are good by then, those who are lost are asked again as soon as they are back, and the
    good answers are kept. A refusal, an error raised by the app or by the site's guard, is not
    asked again.

    Nothing is sent to a site that is not connected: Flower would hold the message, and with it a
    model, until the run ends.

    Args:
        grid: Flower's.
        names: of the sites, by node id.
        needed: how many good answers make a round.
        waiting: called with the names of those who are waited for whenever they change; with none
            when the wait is over.
        poll_seconds: from one look to the next.
    """

    def __init__(
        self,
        grid: Grid,
        names: Mapping[int, str],
        *,
        needed: int,
        waiting: Callable[[list[str]], None] = lambda names: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._grid = grid
        self._names = names
        self._needed = needed
        self._waiting = waiting
        self._poll_seconds = poll_seconds
        self._said: list[str] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Ask, and return a reply for every site but those who are silent when time is up."""
        return self.ask(list(messages), needed=self._needed, timeout=timeout)

    def ask(
        self,
        messages: Sequence[Message],
        *,
        needed: int,
        timeout: float | None = None,
        patience: float = 0.0,
    ) -> list[Message]:
        """Ask, as `send_and_receive`, with another number of answers needed.

        Args:
            messages: one for each site.
            needed: how many good answers are enough.
            timeout: seconds; None for no limit.
            patience: for so many seconds all who are lost are waited for, however many answered.
        """
        asked = [_Asked(message) for message in messages]
        started = heard = time.monotonic()
        first = True
        while True:
            # Looked at before the replies: who has come back since cannot have answered before.
            online = {node.node_id: node.last_activated_at for node in self._grid.get_nodes()}
            if self._take_replies(asked, online):
                heard = time.monotonic()
            waited = time.monotonic() - started
            hoped = sum(one.good or one.under_way for one in asked)
            hopeless = sum(one.good or one.reply is None for one in asked) < needed
            wanted = not hopeless and (first or hoped < needed or waited < patience)
            lost = [one for one in asked if one.lost] if wanted else []
            self._send([one for one in lost if one.node in online], online)
            under_way = [one for one in asked if one.under_way]
            missed = [one for one in lost if one.lost]
            if not (under_way or missed) or (timeout is not None and waited > timeout):
                break
            silent = time.monotonic() - heard > SILENCE_SECONDS
            self._say(missed or (under_way if silent else []))
            first = False
            time.sleep(self._poll_seconds)
        self._say([])
        return [reply for one in asked if (reply := _final(one)) is not None]

    def _send(self, asked: Sequence[_Asked], online: Mapping[int, str]) -> None:
        if not asked:
            return
        for one in asked:
            # Its id, a hash of all that it says, must be a new one: under the old id Flower may
            # hold it as delivered, to a process that has died since.
            one.message.metadata.created_at = time.time()
        ids = list(self._grid.push_messages([one.message for one in asked]))
        for one, message_id in zip(asked, ids, strict=True):
            if message_id:  # else the site was removed in this very moment
                one.online_since = online[one.node]

    def _take_replies(self, asked: Sequence[_Asked], online: Mapping[int, str]) -> bool:
        """Read what came back; tell whether anything did."""
        by_id = {one.message.metadata.message_id: one for one in asked if one.under_way}
        if not by_id:
            return False
        replies = list(self._grid.pull_messages(list(by_id)))
        for reply in replies:
            one = by_id[reply.metadata.reply_to_message_id]
            one.online_since = None
            code = reply.error.code if reply.has_error() else None
            one.crashes += code == ErrorCode.CLIENT_APP_CRASHED
            if code in LOST and one.crashes < MAX_CRASHES:
                one.reason = LOST[code]
            else:
                one.reply = reply
        for one in asked:
            # Flower may not notice that a site died and came back between two looks.
            if one.under_way and online.get(one.node, one.online_since) != one.online_since:
                one.online_since, one.reason = None, LOST[ErrorCode.NODE_UNAVAILABLE]
        return bool(replies)

    def _say(self, asked: Sequence[_Asked]) -> None:
        names = [self._names[one.node] for one in asked]
        if names != self._said:
            self._said = names
            self._waiting(names)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the sites that are connected."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As Flower's."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As Flower's."""
        return self._grid.pull_messages(message_ids)

    def set_run(self, run: Any) -> None:
        """As Flower's."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """As Flower's."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """As Flower's."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)


def _final(one: _Asked) -> Message | None:
    if one.reply is not None or one.under_way:
        return one.reply
    if not one.message.metadata.message_id:
        # Flower numbers a message when it sends it; there is no public way to do without.
        one.message.metadata.__dict__["_message_id"] = f"never sent to {one.node}"
    return Message(Error(ErrorCode.NODE_UNAVAILABLE, one.reason), reply_to=one.message)
