"""Long polling: a question is held until there is news, so that nobody has to ask all the time."""

import asyncio
import time
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

# Where a superexec of Flower's asks for its next task.
ACQUIRE_TASK = "/v1/runtime/acquire-task"

# A process that ends, or is to end, waits so long for what it holds.
HOLD_SECONDS = 4.0
# From one question to the next of who asks again as soon as it is answered, with room to spare.
_BETWEEN_SECONDS = 2.0


class LongPoll:
    """Holds requests to one path until `announce` is called, but `HOLD_SECONDS` at most.

    Held is a request before its body is read; one whose sender has gone meanwhile is seen to have
    gone by whoever reads it.

    Args:
        app: what answers then, and all other requests at once.
        path: of the requests that are held.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._announced = self._asked = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold a request, or not, and hand it on."""
        if scope["type"] == "http" and scope["path"] == self._path:
            self._loop = asyncio.get_running_loop()
            if not self._may_have_missed_news():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), HOLD_SECONDS)
            self._asked = time.monotonic()
        await self._app(scope, receive, send)

    def announce(self) -> None:
        """Have the question answered now; may be called by any thread."""
        self._announced = time.monotonic()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _may_have_missed_news(self) -> bool:
        """Tell whether news may have come while nobody was asking."""
        return time.monotonic() < self._announced + _BETWEEN_SECONDS or (
            time.monotonic() > self._asked + _BETWEEN_SECONDS
        )
