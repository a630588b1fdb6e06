"""The bodies of requests from outside: how large, how slow and how many they may be.

Flower reads a body whole before it looks who sent it. Here it is read before Flower sees the
request at all, within bounds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from starlette.types import Receive, Scope

from operation.whole_body import BodyTooLarge, read_whole

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
LARGER_AT_ONCE = 16


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
            BodyRefused: it is larger than `LARGEST_BYTES`, by its own account or as it comes (413),
                or takes longer than `SLOWEST_SECONDS` (408).
        """
        declared = [int(value) for name, value in scope["headers"] if name == b"content-length"]
        # One that comes in chunks does not say how long it will be.
        size = max(declared, default=LARGEST_BYTES)
        if size > LARGEST_BYTES:
            raise BodyRefused(413, f"a body of {size} bytes, and {LARGEST_BYTES} are allowed")
        async with self._room if size > LARGER_BYTES else nullcontext():
            yield await _read(receive, size)


async def _read(receive: Receive, most: int) -> Receive | None:
    try:
        async with asyncio.timeout(SLOWEST_SECONDS):
            return await read_whole(receive, most)
    except BodyTooLarge as error:
        raise BodyRefused(413, str(error)) from None
    except TimeoutError:
        raise BodyRefused(408, f"a body that took more than {SLOWEST_SECONDS:.0f} s") from None
