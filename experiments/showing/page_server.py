"""The server of the page: who is answered, and within which bounds.

A request needs the secret of the address and a Host that is this server. Only then is its body
read, one at a time, up to `LARGEST_BYTES`; and nothing is stored.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import socket
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_partition.errors import DataError
from experiments.showing.listening import is_meant
from experiments.showing.model_page import LARGEST_BYTES
from experiments.showing.shown_model import ShownModel
from operation.body_limits import BodyLimits
from operation.http_bounds import bounded_server
from operation.text import printable
from training.errors import TrainingError

_ELEMENT = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
_GRACE_SECONDS = 2  # for connections that are open when the server ends


def serve(
    page: str, shown: ShownModel, listening: socket.socket, ready: Callable[[str], None]
) -> None:
    """Serve a model until a signal.

    Args:
        ready: called with the address's secret before the first request can be answered.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came.
    """
    token = secrets.token_urlsafe(32)
    app = show_app(page, shown, token, lambda host: is_meant(host, listening))
    server = bounded_server(app, lifespan="off", timeout_graceful_shutdown=_GRACE_SECONDS)
    ready(token)
    server.run(sockets=[listening])


def show_app(
    page: str, shown: ShownModel, token: str, is_ours: Callable[[str], bool]
) -> "Doorkeeper":
    """Return the app.

    Args:
        page: HTML, whose scripts and styles are all within it.
        token: secret first part of every path.
        is_ours: whether a Host header is this server.
    """

    async def send_page(_: Request) -> Response:
        return HTMLResponse(page)

    async def answer(request: Request) -> Response:
        data = await request.body()
        try:
            return JSONResponse(await run_in_threadpool(shown.answer, data))
        except (DataError, TrainingError) as error:
            return PlainTextResponse(printable(str(error)), status_code=422)

    routes = [Route("/", send_page), Route("/answer", answer, methods=["POST"])]
    return Doorkeeper(Starlette(routes=routes), token, is_ours, _policy(page))


class Doorkeeper:
    """Passes on requests with the secret and a Host of ours, one after the other.

    Args:
        app: gets the path behind the secret.
        policy: the Content-Security-Policy of all answers.
    """

    def __init__(
        self, app: ASGIApp, token: str, is_ours: Callable[[str], bool], policy: str
    ) -> None:
        self._app = BodyLimits(app, lambda scope: LARGEST_BYTES if _uploads(scope) else 0)
        self._token, self._is_ours = token.encode("ascii"), is_ours
        self._headers = [
            (b"content-security-policy", policy.encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"no-referrer"),  # the address is secret
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        if scope["type"] != "http":
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0].decode("latin-1")):
            await _refuse(403, "this server is not called so")(scope, receive, with_headers)
            return
        first, _, rest = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode("utf-8"), self._token):
            await _refuse(404, "not found")(scope, receive, with_headers)
            return
        inner = {**scope, "path": f"/{rest}", "raw_path": b"(behind the secret)"}
        async with self._one_at_a_time:
            await self._app(inner, receive, with_headers)


def _refuse(status: int, reason: str) -> Response:
    # The rest of a body is not waited for.
    return PlainTextResponse(f"{reason}\n", status_code=status, headers={"Connection": "close"})


def _uploads(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"] == "/answer")


def _policy(page: str) -> str:
    """Return a policy that allows exactly the page's own scripts and styles."""
    sums: dict[str, list[str]] = {"style": [], "script": []}
    for element, content in _ELEMENT.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
        sums[element].append(f"'sha256-{digest}'")
    own = [f"{element}-src {' '.join(found)}" for element, found in sums.items()]
    return "; ".join(
        [
            "default-src 'none'",
            *own,
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
