"""Request bodies in one piece, for servers whose middleware passes every piece through tasks."""

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyTooLarge(Exception):
    """A body has more bytes than allowed."""


class WholeBodies:
    """Gives an app the body of every request in one piece.

    A socket gives 64 KiB at a time. Flower's stack of Starlette middleware passes each piece on
    through several tasks, which takes longer than transferring the bytes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a request and pass it on; drop it if its sender has gone."""
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
        A `Receive` that gives an app the body in one piece; None if the sender has gone.

    Raises:
        BodyTooLarge: the body is larger than allowed.
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
