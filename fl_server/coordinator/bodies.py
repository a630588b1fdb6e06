"""The bodies of requests from outside: how large, how slow and how many they may be.

Flower reads a body whole before it looks who sent it. Here it is read before Flower sees the
request at all, within bounds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Receive, Scope

# The largest that a SuperNode sends is a piece of an array: Flower cuts them at 5 MiB (5 242 880
# bytes) and adds some hundred bytes. The list of a reply's objects is some hundred kilobytes for
# 1500 arrays.
LARGEST_BYTES = 8 * 2**20
# Flower itself gives a reply up of which nothing more comes for so long. A site sends two pieces at
# a time, for which 0.5 Mbit/s are enough.
SLOWEST_SECONDS = 180.0
# So many larger bodies are held at a time, and further ones wait unread in their connections.
# Smaller ones, and with them every heartbeat, never wait.
LARGER_BYTES = 2**16
LARGER_AT_ONCE = 32


class BodyRefused(Exception):
    """A body that is out of bounds.

    Attributes:
        status: of the HTTP answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Bodies:
    """Reads bodies; one object for all requests, as they share what is held at a time."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(LARGER_AT_ONCE)

    @asynccontextmanager
    async def read(self, scope: Scope, receive: Receive) -> AsyncIterator[Receive | None]:
        """Read a request's body, and hold its room until the request is answered.

        Yields:
            What gives the body to the app; None if the sender has gone.

        Raises:
            BodyRefused: it is larger than `LARGEST_BYTES` by its own account (413), or as it comes
                (413), or takes longer than `SLOWEST_SECONDS` (408).
        """
        declared = [int(value) for name, value in scope["headers"] if name == b"content-length"]
        # One that comes in chunks does not say how long it is.
        expected = max(declared, default=0 if _is_empty(scope) else LARGEST_BYTES)
        if expected > LARGEST_BYTES:
            raise BodyRefused(413, f"{expected} bytes are more than {LARGEST_BYTES}")
        if expected <= LARGER_BYTES:
            yield await _read(receive)
            return
        async with self._room:
            yield await _read(receive)


async def _read(receive: Receive) -> Receive | None:
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SLOWEST_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > LARGEST_BYTES:
                    raise BodyRefused(413, f"more than {LARGEST_BYTES} bytes")
                more = message.get("more_body", False)
    except TimeoutError:
        raise BodyRefused(408, f"its body took longer than {SLOWEST_SECONDS:.0f} s") from None
    waiting: list[Message] = [{"type": "http.request", "body": b"".join(pieces)}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
