"""Request bodies in one piece, for servers whose middleware hands every piece through tasks."""

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyTooLarge(Exception):
    """A body has more bytes than are allowed."""


class WholeBodies:
    """Gives an app the body of every request in one piece.

    A socket gives 64 KiB at a time. Flower's stack of Starlette middleware passes each of them on
    through several tasks, which takes a server longer than the bytes themselves.

    Args:
        app: what is behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a request and hand it on; one whose sender has gone is dropped."""
        if scope["type"] == "http":
            body = await read_whole(receive)
            if body is None:
                return
            receive = body
        await self._app(scope, receive, send)


async def read_whole(receive: Receive, most: int = sys.maxsize) -> Receive | None:
    """Read a request's body.

    Args:
        receive: of the request.
        most: bytes that are allowed.

    Returns:
        What gives the body to an app, in one piece; None if the sender has gone.

    Raises:
        BodyTooLarge: more has come than is allowed.
    """
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            raise BodyTooLarge(f"a body of more than {most} bytes")
        more = message.get("more_body", False)
    waiting: list[Message] = [{"type": "http.request", "body": bytes(body)}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
