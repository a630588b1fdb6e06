"""Sites that disconnect and return, as Flower's grid shows them."""

import time

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode

from fl_server.site_grid import SiteGrid
from fl_server.streaming_grid import Arrival
from strategies.arrays import to_record
from strategies.averaging import Averaging
from tests.fl_server.sites_in_memory import CRASHED, GONE, REFUSED, Answer, SitesInMemory
from tests.support import answer

pytestmark = pytest.mark.usefixtures("flower_task")

NAMES = {7: "hospital-a", 3: "hospital-b", 5: "hospital-c"}
AWAY = None


def good(message: Message) -> Message:
    return answer(message, num_examples=1)


class Asking:
    """A set of messages to the three sites, and what became of it."""

    def __init__(
        self,
        scripts: dict[int, list[Answer]],
        connected: dict[int, list[str | None]] | None = None,
        *,
        needed: int,
        timeout: float = 5.0,
        patience: float = 0.0,
        flower: SitesInMemory | None = None,
    ) -> None:
        whole = {node: [good] for node in NAMES} | scripts
        self.flower = flower or SitesInMemory(whole, connected)
        self.said: list[list[str]] = []
        grid = SiteGrid(
            self.flower, NAMES, needed=needed, waiting=self.said.append, poll_seconds=0.001
        )
        content = RecordDict({"config": ConfigRecord({"round": 1})})
        self.messages = [Message(content, node, MessageType.TRAIN) for node in NAMES]
        asking = grid.ask(self.messages, needed=needed, timeout=timeout, patience=patience)
        replies = list(asking)
        by_id = {reply.metadata.reply_to_message_id: reply for reply in replies}
        assert len(by_id) == len(replies)
        self.replies = {
            message.metadata.dst_node_id: by_id.get(message.metadata.message_id)
            for message in self.messages
        }

    def cause(self, node: int) -> str | None:
        """Why a site is not among the good; None where it is."""
        reply = self.replies[node]
        assert reply is not None
        return reply.error.reason if reply.has_error() else None


def test_everybody_is_asked_once() -> None:
    asking = Asking({}, needed=3)
    assert asking.flower.asked() == [7, 3, 5]
    assert [asking.cause(node) for node in NAMES] == [None, None, None]
    assert asking.said == []


@pytest.mark.parametrize(
    "code", [GONE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, CRASHED]
)
def test_who_is_lost_is_asked_again_where_it_is_needed(code: int) -> None:
    """Away for three looks; the others' answers are kept, and its message is a new one."""
    asking = Asking({3: [code, good]}, {3: ["8:00", AWAY, AWAY, AWAY, "8:05"]}, needed=3)
    assert asking.flower.asked() == [7, 3, 5, 3]
    first, again = (m for m in asking.flower.sent if m.metadata.dst_node_id == 3)
    assert again.content is first.content
    assert asking.replies[3] is not None
    assert asking.replies[3].metadata.reply_to_message_id == "message 4"
    assert [asking.cause(node) for node in NAMES] == [None, None, None]
    assert asking.said == [["hospital-b"], []]


def test_a_round_closes_without_the_lost_where_enough_are_there() -> None:
    asking = Asking({3: [GONE, good]}, needed=2)
    assert asking.flower.asked() == [7, 3, 5]
    assert asking.cause(3) == "its connection was lost"
    assert asking.cause(7) is None
    assert asking.said == []


def test_nothing_is_sent_to_who_is_not_connected() -> None:
    """Flower would keep the message, and a model with it."""
    asking = Asking({}, {3: [AWAY], 5: [AWAY]}, needed=1)
    assert asking.flower.asked() == [7]
    assert asking.cause(3) == asking.cause(5) == "is not connected"


def test_who_comes_late_is_asked_when_it_comes() -> None:
    asking = Asking({}, {3: [AWAY, AWAY, "8:05"], 5: [AWAY, "8:04"]}, needed=3)
    assert asking.flower.asked() == [7, 5, 3]
    assert asking.said == [["hospital-b", "hospital-c"], ["hospital-b"], []]


def test_a_refusal_is_not_asked_again() -> None:
    """With two valid replies of two needed, no other reply matters."""
    asking = Asking({3: [REFUSED, good]}, needed=2)
    assert asking.flower.asked() == [7, 3, 5]
    assert asking.cause(3) == f"error {REFUSED}"


def test_refusals_that_leave_too_few_end_the_wait_at_once() -> None:
    """Nobody waits for hospital-c, whose answer would not help, and it is not asked."""
    started = time.monotonic()
    asking = Asking({3: [REFUSED]}, {5: [AWAY]}, needed=3, timeout=60)
    assert time.monotonic() - started < 5
    assert asking.flower.asked() == [7, 3]
    assert asking.cause(3) == f"error {REFUSED}"
    assert asking.cause(5) == "is not connected"


def test_a_process_that_dies_three_times_is_given_up() -> None:
    asking = Asking({3: [CRASHED, CRASHED, CRASHED, good]}, needed=3)
    assert asking.flower.asked() == [7, 3, 5, 3, 3]
    assert asking.cause(3) == f"error {CRASHED}"


def test_who_died_and_came_back_between_two_looks_is_asked_again() -> None:
    """Flower holds the first message as delivered, to a process that will never answer."""
    asking = Asking({3: [None, good]}, {3: ["8:00", "8:00", "8:01"]}, needed=2)
    # Two good answers of two needed: hospital-b is not asked again.
    assert asking.flower.asked() == [7, 3, 5]
    assert asking.cause(3) == "its connection was lost"
    asking = Asking({3: [None, good]}, {3: ["8:00", "8:00", "8:01"]}, needed=3)
    assert asking.flower.asked() == [7, 3, 5, 3]
    assert asking.cause(3) is None


def test_the_wait_ends_when_time_is_up() -> None:
    """Of a silent site and of a disconnected one the reason is told."""
    asking = Asking({3: [None]}, {5: [AWAY]}, needed=3, timeout=1.0)
    assert asking.cause(3) == "no answer within 1 s"
    assert asking.cause(5) == "is not connected"
    assert asking.said == [["hospital-c"], []]
    assert sorted(asking.flower.released) == ["message 1", "message 2"]


@pytest.mark.parametrize("silent", NAMES)
def test_a_silent_site_is_absent_where_enough_have_answered(silent: int) -> None:
    """Wherever it stands in the order, the others' replies are kept and read."""
    asking = Asking({silent: [None]}, needed=2, timeout=0.2)
    assert asking.flower.asked() == [7, 3, 5]
    assert asking.cause(silent) == "no answer within 0.2 s"
    assert [asking.cause(node) for node in NAMES if node != silent] == [None, None]


def test_a_reply_that_never_comes_completely_holds_nobody_up() -> None:
    """The first one's parts trickle until time is up; the others' are there and are read then."""
    flower = SitesInMemory({node: [good] for node in NAMES})
    flower.trickling = {7}
    asking = Asking({}, needed=2, timeout=0.2, flower=flower)
    assert asking.cause(7) == "no complete answer within 0.2 s"
    assert [asking.cause(node) for node in (3, 5)] == [None, None]
    assert flower.asked() == [7, 3, 5], "nobody is asked again after the end"


def test_a_reply_that_came_in_time_is_found_however_long_the_others_take() -> None:
    """hospital-c's reply comes while hospital-a's is read, which takes until time is up."""

    class Slow(SitesInMemory):
        def read(self, arrival: Arrival, question: Message, deadline: float = 0.0) -> Message:
            time.sleep(max(0.0, deadline + 0.05 - time.monotonic()))
            if question.metadata.dst_node_id == 7:
                self.replies["message 3"] = good(self.sent[2])
            return super().read(arrival, question, deadline)

    flower = Slow({7: [good], 3: [good], 5: [None]})
    asking = Asking({}, needed=2, timeout=0.2, flower=flower)
    assert [asking.cause(node) for node in NAMES] == [None, None, None]


def test_a_late_reply_never_enters_a_later_round() -> None:
    """It comes during the next round, and is thrown away; the site is asked with a new message."""

    def also_late(message: Message) -> Message:
        flower.replies["message 2"] = good(messages[0][1])  # of round 1
        return good(message)

    flower = SitesInMemory({7: [good] * 2, 3: [None, also_late], 5: [good, None]})
    grid = SiteGrid(flower, NAMES, needed=2, poll_seconds=0.001)
    messages, answered = [], []
    for number in (1, 2):
        content = RecordDict({"config": ConfigRecord({"round": number})})
        messages.append([Message(content, node, MessageType.TRAIN) for node in NAMES])
        replies = list(grid.ask(messages[-1], needed=2, timeout=0.2))
        answered.append([r.metadata.reply_to_message_id for r in replies if not r.has_error()])
    assert answered == [["message 1", "message 3"], ["message 4", "message 5"]]
    # All six messages, and the reply that was thrown away; others are released when they are read.
    assert sorted(flower.released) == [f"message {n}" for n in range(1, 7)] + ["root of message 2"]


def test_patience_waits_for_more_than_are_needed() -> None:
    asking = Asking({}, {3: [AWAY] * 5 + ["8:05"]}, needed=2, patience=60)
    assert asking.flower.asked() == [7, 5, 3]
    asking = Asking({}, {3: [AWAY]}, needed=2, patience=0.05)
    assert asking.flower.asked() == [7, 5]


def test_the_silence_of_the_connected_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_server.site_grid.SILENCE_SECONDS", 0.01)
    asking = Asking({3: [None]}, needed=3, timeout=0.1)
    assert asking.said == [["hospital-b"], []]


def test_no_messages_have_no_replies() -> None:
    assert list(SiteGrid(SitesInMemory({7: []}), NAMES, needed=3).send_and_receive([])) == []


def test_a_round_of_averaging_over_sites_that_come_back() -> None:
    """The mean is that of all three, even if one had to be asked twice: (1 + 2 + 6)/3 = 3."""

    def trained(value: float) -> Answer:
        return lambda message: answer(message, {"w": np.float32([value])}, num_examples=1)

    flower = SitesInMemory({7: [trained(1)], 3: [GONE, trained(2)], 5: [trained(6)]})
    strategy = Averaging(clients=NAMES, min_replies=3)
    grid = SiteGrid(flower, NAMES, needed=3, poll_seconds=0.001)
    start = to_record({"w": np.zeros(1, np.float32)})
    found = strategy.start(grid, start, num_rounds=1, timeout=5).arrays
    assert isinstance(found, ArrayRecord)
    assert found["w"].numpy().tolist() == [3.0]
    assert [reply.client for reply in strategy.replies.accepted] == list(NAMES.values())
