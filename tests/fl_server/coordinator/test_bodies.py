"""Bodies from outside: by their own account, as they come, too slowly, and many at once."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from fl_server.coordinator import bodies
from fl_server.coordinator.bodies import Bodies, BodyRefused

# Small bounds in place of the real ones; what is tested is that they hold.
LARGEST = 1000
LARGER = 100


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LARGEST_BYTES", LARGEST)
    monkeypatch.setattr(bodies, "LARGER_BYTES", LARGER)
    monkeypatch.setattr(bodies, "LARGER_AT_ONCE", 2)
    monkeypatch.setattr(bodies, "SLOWEST_SECONDS", 0.05)


def scope(length: int | None) -> dict[str, Any]:
    said = [] if length is None else [(b"content-length", str(length).encode())]
    return {"headers": [(b"host", b"h"), *said]}


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


async def read(sender: Sender, length: int | None) -> bytes:
    async with Bodies().read(scope(length), sender.receive) as again:
        assert again is not None
        message = await again()
        assert not message.get("more_body")
        return bytes(message["body"])


@pytest.mark.parametrize("length", [LARGEST, None])
def test_a_body_comes_whole(length: int | None) -> None:
    sender = Sender([b"a" * 400, b"b" * 600])
    assert asyncio.run(read(sender, length)) == b"a" * 400 + b"b" * 600


def test_no_body_is_an_empty_one() -> None:
    assert asyncio.run(read(Sender([b""]), None)) == b""


def test_what_says_that_it_is_too_large_is_not_read() -> None:
    sender = Sender([b"a"])
    with pytest.raises(BodyRefused, match="1001 bytes, and 1000 are allowed") as caught:
        asyncio.run(read(sender, LARGEST + 1))
    assert caught.value.status == 413
    assert sender.taken == 0


@pytest.mark.parametrize("length", [None, 0, 300, LARGEST])
def test_what_says_nothing_or_lies_is_read_to_the_bound_and_no_further(length: int | None) -> None:
    sender = Sender([b"a" * 300] * 100)
    with pytest.raises(BodyRefused, match="a body of more than") as caught:
        asyncio.run(read(sender, length))
    assert caught.value.status == 413
    assert sender.taken <= LARGEST + 300


def test_what_comes_too_slowly_is_refused() -> None:
    with pytest.raises(BodyRefused, match="took more than") as caught:
        asyncio.run(read(Sender([b"a"], ends=False), 2))
    assert caught.value.status == 408


def test_who_has_gone_is_not_answered() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def gone() -> bool:
        async with Bodies().read(scope(1), receive) as again:
            return again is None

    assert asyncio.run(gone())


def test_after_its_body_the_app_sees_that_the_sender_has_gone() -> None:
    async def receive() -> dict[str, Any]:
        return next(messages)

    messages = iter([{"type": "http.request", "body": b"a"}, {"type": "http.disconnect"}])

    async def both() -> list[str]:
        async with Bodies().read(scope(1), receive) as again:
            assert again is not None
            return [(await again())["type"], (await again())["type"]]

    assert asyncio.run(both()) == ["http.request", "http.disconnect"]


def test_only_so_many_larger_ones_are_held_and_small_ones_never_wait() -> None:
    """Two of three may be held: the third is not read while these are not answered."""

    async def hold(shared: Bodies, sender: Sender, length: int, answered: asyncio.Event) -> None:
        async with shared.read(scope(length), sender.receive):
            await answered.wait()

    async def many() -> None:
        shared, answered = Bodies(), asyncio.Event()
        large = [Sender([b"a" * 500]) for _ in range(3)]
        tasks = [asyncio.create_task(hold(shared, sender, 500, answered)) for sender in large]
        await asyncio.sleep(0.01)
        assert [sender.taken for sender in large] == [500, 500, 0]
        small = Sender([b"a" * LARGER])
        async with shared.read(scope(LARGER), small.receive):
            assert small.taken == LARGER
        answered.set()
        await asyncio.gather(*tasks)
        assert large[2].taken == 500

    asyncio.run(many())
