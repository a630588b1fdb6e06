"""Request bodies: bounds on their size, duration and number at a time.

Flower reads the whole body before it checks who sent it, and a socket gives 64 KiB at a time, each
of which Flower's stack of middleware passes on through several tasks. Here a body is read, within
bounds, before Flower sees the request, and is passed on in one piece.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from operation.logs import log_file

log = logging.getLogger(__name__)

# At most this much of a request is logged; the rest could be of any size and content.
_LOGGED_CHARACTERS = 200


def log_refusal(scope: Scope, reason: str = "") -> None:
    """Log a refused request: its address, its path, and the reason if the path does not explain it.

    Args:
        scope: the request's scope; of an incomplete request its ``type`` and ``client``.
        reason: text from this program, never from the sender.
    """
    client = scope.get("client") or ("unknown", 0)
    asked = f"{scope.get('method', scope['type'])} {scope.get('raw_path', b'')!r}"
    because = f": {reason}" if reason else ""
    log.warning("refused %s:%s %s%s", client[0], client[1], asked[:_LOGGED_CHARACTERS], because)


def keep_refusals(path: Path) -> None:
    """Write refusals to a file, and nowhere else."""
    handler = log_file(path, older=5)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False


# The largest body that Flower sends is a piece of an array: it cuts them at 5 MiB (5 242 880 bytes)
# and adds some hundred bytes. The list of a reply's objects is some hundred kilobytes for 1500
# arrays.
LARGEST_BYTES = 8 * 2**20
# After this long without data Flower itself gives up a reply. A site sends two pieces at a time,
# for which 0.5 Mbit/s are enough.
SLOWEST_SECONDS = 180.0
# The maximum number of larger bodies held at a time; further ones wait unread in their connections.
SMALL_BYTES = 2**16
LARGER_AT_ONCE = 16


class BodyLimits:
    """Passes each request body to an app in one piece, and refuses bodies beyond the bounds.

    A body that is too large is answered with 413, one that takes longer than `SLOWEST_SECONDS` with
    408; both are logged. A request whose sender has disconnected is dropped.

    Args:
        most: returns the maximum size of a request's body in bytes, given its scope; by default
            `LARGEST_BYTES`.
    """

    def __init__(
        self, app: ASGIApp, most: Callable[[Scope], int] = lambda _scope: LARGEST_BYTES
    ) -> None:
        self._app = app
        self._most = most
        self._room = asyncio.Semaphore(LARGER_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a request, and pass it on or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with self._read(scope, receive) as body:
                if body is not None:
                    await self._app(scope, body, send)
        except _Refused as refused:
            log_refusal(scope, str(refused))
            # The rest of the body is not waited for.
            answer = PlainTextResponse(
                f"{refused}\n", status_code=refused.status, headers={"Connection": "close"}
            )
            await answer(scope, receive, send)

    @asynccontextmanager
    async def _read(self, scope: Scope, receive: Receive) -> AsyncIterator[Receive | None]:
        """Read a body and reserve its memory until the request is answered; None if the sender
        left.
        """
        most = self._most(scope)
        declared = [int(value) for name, value in scope["headers"] if name == b"content-length"]
        # A chunked body does not state its length.
        size = max(declared, default=most)
        if size > most:
            raise _Refused(413, f"a body of {size} bytes, and {most} are allowed")
        async with self._room if size > SMALL_BYTES else nullcontext():
            try:
                async with asyncio.timeout(SLOWEST_SECONDS):
                    body = await _whole(receive, size)
            except TimeoutError:
                raise _Refused(408, f"a body that took more than {SLOWEST_SECONDS:.0f} s") from None
            yield body


class _Refused(Exception):
    """A body beyond the bounds, with the status of the HTTP answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def _whole(receive: Receive, most: int) -> Receive | None:
    """Read a body up to the maximum size; return a `receive` that gives it in one piece."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            raise _Refused(413, f"a body of more than {most} bytes")
        more = message.get("more_body", False)
    waiting: list[Message] = [{"type": "http.request", "body": bytes(body)}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
