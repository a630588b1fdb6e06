"""Requests whose bodies an app sees in one piece."""

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from operation.whole_body import WholeBodies

PIECES = [b"a" * 400, b"b" * 600, b""]


def ask(messages: list[dict[str, Any]], scope: dict[str, Any]) -> list[Message]:
    """Send a request to an app that reads two messages, and return what it saw."""
    seen: list[Message] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        seen.extend([await receive(), await receive()])

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_message: Message) -> None:
        raise AssertionError("nothing is answered here")

    asyncio.run(WholeBodies(app)(scope, receive, send))
    return seen


def test_a_body_comes_in_one_piece_and_then_what_came_behind_it() -> None:
    last = len(PIECES) - 1
    request = [
        {"type": "http.request", "body": piece, "more_body": number < last}
        for number, piece in enumerate(PIECES)
    ]
    seen = ask([*request, {"type": "http.disconnect"}], {"type": "http"})
    assert seen == [{"type": "http.request", "body": b"".join(PIECES)}, {"type": "http.disconnect"}]


def test_half_a_request_never_reaches_the_app() -> None:
    half = {"type": "http.request", "body": b"a", "more_body": True}
    assert ask([half, {"type": "http.disconnect"}], {"type": "http"}) == []


def test_what_is_no_request_passes_as_it_is() -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    assert ask(list(messages), {"type": "lifespan"}) == messages
