"""Long polling: a request is held until there is news, so that clients need not ask repeatedly."""

import asyncio
import time
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

# The path at which Flower's superexec asks for its next task.
ACQUIRE_TASK = "/v1/runtime/acquire-task"

# A process that is ending waits at most this long for a held request.
HOLD_SECONDS = 4.0
# Maximum time between two requests of a client that asks again as soon as it is answered.
_BETWEEN_SECONDS = 2.0


class LongPoll:
    """Holds requests to one path until `announce` is called, for at most `HOLD_SECONDS`.

    A request is held before its body is read. If its sender disconnects meanwhile, the app notices
    when it reads the body.

    Args:
        path: the path of the requests that are held.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._announced = self._asked = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold a request if it is to the path, then pass it on."""
        if scope["type"] == "http" and scope["path"] == self._path:
            self._loop = asyncio.get_running_loop()
            if not self._may_have_missed_news():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), HOLD_SECONDS)
            self._asked = time.monotonic()
        await self._app(scope, receive, send)

    def announce(self) -> None:
        """Release the held requests now; may be called from any thread."""
        self._announced = time.monotonic()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _may_have_missed_news(self) -> bool:
        """Return whether news may have come while no request was held."""
        return time.monotonic() < self._announced + _BETWEEN_SECONDS or (
            time.monotonic() > self._asked + _BETWEEN_SECONDS
        )
