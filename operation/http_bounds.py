"""A uvicorn server that limits what a connection may send before it is answered.

uvicorn's own HTTP (on httptools) reads request headers of any size, and waits without limit for the
first byte of a connection and for the end of the headers.
"""

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from operation.body_limits import log_refusal

# Flower's requests have some 20 headers in less than 2 KiB.
HEAD_BYTES = 2**15
HEAD_LINES = 100
# From the start of a connection, or the first byte of a further request, to the end of its headers.
HEAD_SECONDS = 20.0
# A refused sender that continues to send has this long to read the reason.
_LINGER_SECONDS = 1.0


def bounded_server(app: ASGIApp, **options: Any) -> uvicorn.Server:
    """Return a server of an app that applies the bounds of this file to every connection.

    Args:
        options: further options of `uvicorn.Config`.
    """
    return _Server(
        uvicorn.Config(
            app,
            http=BoundedHttp,
            ws="none",
            # A header must not change the address that a request comes from.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_level="warning",
            **options,
        )
    )


class _Server(uvicorn.Server):
    """uvicorn's server checks ten times a second whether to end; this one twice."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(0.5)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP with bounds, one object per connection.

    Everything except bodies (the request line, headers, trailers, and data between chunks) may have
    `HEAD_BYTES` bytes and `HEAD_LINES` headers, otherwise the answer is 431. It must arrive within
    `HEAD_SECONDS`, otherwise the answer is 408, or the connection is closed if not a single byte
    came. A request that does not wait for the answer to the previous one is refused with 400. After
    an answer nothing more of its request is read. All refusals are logged, except of silent
    connections.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._refusal: tuple[int, str] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        # Of the current request: headers, and bytes outside its body.
        self._lines = self._outside = 0
        # Of the bytes that were received last.
        self._body = 0
        self._ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._at_work():
            self._expect_head()
        self._body, self._ended = 0, False
        super().data_received(data)
        self._outside = 0 if self._ended else self._outside + len(data) - self._body
        if self._outside > HEAD_BYTES:
            self._refuse(431, f"more than {HEAD_BYTES} bytes of headers")

    def on_message_begin(self) -> None:
        if self._at_work():
            self._stop(400, "a request before the last one was answered")
        self._lines = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        if self._lines > HEAD_LINES:
            self._stop(431, f"more than {HEAD_LINES} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._ended = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        followed = bool(self.pipeline)  # by a request, which the current cycle is then
        super().on_response_complete()
        # Answered before it was complete; the rest is not needed.
        if self.cycle.more_body and not followed:
            self._close()

    def send_400_response(self, msg: str) -> None:
        """Answer where the parser stopped: at a bound of ours, or at data that is not HTTP."""
        self._refuse(*(self._refusal or (400, "not HTTP")))

    def _at_work(self) -> bool:
        """Return whether a request is waiting for its answer, or for a part of it.

        An app may send the whole body of its answer, and say only afterwards that it was all. By
        then its receiver, which knows the length, may have sent the next request.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        known = cycle.response_started and cycle.chunked_encoding is False
        return not (known and cycle.expected_content_length == 0)

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._outside:
            self._refuse(408, f"headers that took more than {HEAD_SECONDS:.0f} s")
        else:
            self._close()

    def _close(self) -> None:
        """Close the connection, even if the other side does not."""
        self.transport.close()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _stop(self, status: int, reason: str) -> None:
        """Stop the parser from one of its callbacks."""
        self._refusal = status, reason
        raise ValueError(reason)

    def _refuse(self, status: int, reason: str) -> None:
        """Send a refusal unless an answer has begun; close the connection, and log it."""
        if self.transport.is_closing():
            return
        log_refusal({"type": "http", "client": self.client}, reason)
        if not (self._at_work() and self.cycle.response_started):
            said = f"{reason}\n".encode("ascii")
            head = (
                "content-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(said)}\r\n"
                "connection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[status] + head.encode("ascii") + said)
        self._close()
