"""Request bodies: with a stated length, chunked, too slow, and many at once."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from operation import body_limits
from operation.body_limits import BodyLimits

# Small bounds in place of the real ones; what is tested is that they hold.
LARGEST = 1000
SMALL = 100


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limits, "LARGEST_BYTES", LARGEST)
    monkeypatch.setattr(body_limits, "SMALL_BYTES", SMALL)
    monkeypatch.setattr(body_limits, "LARGER_AT_ONCE", 2)
    monkeypatch.setattr(body_limits, "SLOWEST_SECONDS", 0.05)


def scope(length: int | None) -> dict[str, Any]:
    said = [] if length is None else [(b"content-length", str(length).encode())]
    return {
        "type": "http",
        "method": "POST",
        "raw_path": b"/x",
        "client": ("10.0.0.1", 9),
        "headers": [(b"host", b"h"), *said],
    }


class Sender:
    """Sends pieces, then nothing more.

    Attributes:
        taken: bytes that were read.
    """

    def __init__(self, pieces: Iterable[bytes], *, ends: bool = True) -> None:
        self._pieces = list(pieces)
        self._ends = ends
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        if not self._pieces:
            await asyncio.sleep(60)
        piece = self._pieces.pop(0)
        self.taken += len(piece)
        more = bool(self._pieces) or not self._ends
        return {"type": "http.request", "body": piece, "more_body": more}


def ask(sender: Sender, length: int | None) -> tuple[int, bytes]:
    """The answer to a request: the status, and the body that the app saw or the error's text.

    A sender that has disconnected gets no answer: status 0.
    """
    sent: list[dict[str, Any]] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert not message.get("more_body")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": message["body"]})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(BodyLimits(app)(scope(length), sender.receive, send))
    return (sent[0]["status"], sent[1]["body"]) if sent else (0, b"")


@pytest.mark.parametrize("length", [LARGEST, None])
def test_a_body_comes_whole(length: int | None) -> None:
    sender = Sender([b"a" * 400, b"b" * 600])
    assert ask(sender, length) == (200, b"a" * 400 + b"b" * 600)


def test_no_body_is_an_empty_one() -> None:
    assert ask(Sender([b""]), None) == (200, b"")


def test_what_says_that_it_is_too_large_is_not_read() -> None:
    sender = Sender([b"a"])
    assert ask(sender, LARGEST + 1) == (413, b"a body of 1001 bytes, and 1000 are allowed\n")
    assert sender.taken == 0


@pytest.mark.parametrize("length", [None, 0, 300, LARGEST])
def test_what_says_nothing_or_lies_is_read_to_the_bound_and_no_further(length: int | None) -> None:
    sender = Sender([b"a" * 300] * 100)
    status, said = ask(sender, length)
    assert (status, said[:19]) == (413, b"a body of more than")
    assert sender.taken <= LARGEST + 300


def test_what_comes_too_slowly_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    status, said = ask(Sender([b"a"], ends=False), 2)
    assert (status, said[:21]) == (408, b"a body that took more")
    assert caplog.records[0].getMessage().startswith("refused 10.0.0.1:9 POST b'/x': a body that")


def test_an_app_says_how_much_it_takes() -> None:
    """The bound is looked up for each request, as for one without a token."""

    async def most(path: str) -> int:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        sent: list[dict[str, Any]] = []
        bounded = BodyLimits(app, lambda scope: 5 if scope["raw_path"] == b"/few" else 50)
        asked = {**scope(None), "raw_path": path.encode()}
        await bounded(asked, Sender([b"a" * 20]).receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(most("/few")) == 413
    assert asyncio.run(most("/many")) == 200


def test_who_has_gone_is_not_answered_and_what_came_of_it_never_reaches_the_app() -> None:
    class Gone(Sender):
        async def receive(self) -> dict[str, Any]:
            return await super().receive() if self._pieces else {"type": "http.disconnect"}

    assert ask(Gone([b"a"], ends=False), 2) == (0, b"")


def test_after_its_body_the_app_sees_that_the_sender_has_gone() -> None:
    async def receive() -> dict[str, Any]:
        return next(messages)

    messages = iter([{"type": "http.request", "body": b"a"}, {"type": "http.disconnect"}])
    seen: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        seen.extend([(await receive())["type"], (await receive())["type"]])

    asyncio.run(BodyLimits(app)(scope(1), receive, receive))  # type: ignore[arg-type]
    assert seen == ["http.request", "http.disconnect"]


def test_what_is_no_request_passes_as_it_is() -> None:
    seen: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        seen.append((await receive())["type"])

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    asyncio.run(BodyLimits(app)({"type": "lifespan"}, receive, receive))  # type: ignore[arg-type]
    assert seen == ["lifespan.startup"]


def test_only_so_many_larger_ones_are_held_and_small_ones_never_wait() -> None:
    """Two of three may be held: the third is not read while these are not answered."""

    async def many() -> None:
        answered = asyncio.Event()
        seen: list[int] = []

        async def app(_scope: Any, receive: Any, _send: Any) -> None:
            seen.append(len((await receive())["body"]))
            if seen[-1] > SMALL:
                await answered.wait()

        async def send(message: Any) -> None:
            raise AssertionError(message)

        bounded = BodyLimits(app)
        large = [Sender([b"a" * 500]) for _ in range(3)]
        tasks = [asyncio.create_task(bounded(scope(500), sender.receive, send)) for sender in large]
        await asyncio.sleep(0.01)
        assert [sender.taken for sender in large] == [500, 500, 0]
        await bounded(scope(SMALL), Sender([b"a" * SMALL]).receive, send)
        assert seen == [500, 500, SMALL]
        answered.set()
        await asyncio.gather(*tasks)
        assert large[2].taken == 500

    asyncio.run(many())
