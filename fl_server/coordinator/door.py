"""The door to the SuperLink: from outside, only requests that a site's SuperNode needs are
answered.
"""

import hmac
from collections.abc import Callable, Collection

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from operation.body_limits import LARGEST_BYTES, SMALL_BYTES, BodyLimits, log_refusal
from operation.long_poll import ACQUIRE_TASK, LongPoll

CONTROL = "/v1/control"
START_RUN = f"{CONTROL}/start-run"
# A run is submitted with its bundle, for which Flower accepts 10 MiB.
CONTROL_BYTES = 16 * 2**20
PASSWORD_HEADER = "fedskin-password"


def password(secret: bytes) -> str:
    """Return the Control API's password, made from the secret of the coordinator's processes."""
    return hmac.new(secret, b"fedskin control", "sha256").hexdigest()


class Door:
    """Answers some exact routes on the public socket, and everything on another, local one.

    Flower's Control API has no authentication: anyone who reaches it can submit code that then runs
    in every hospital. So access is decided here, by the socket that received the request and not by
    the sender's address: a reverse proxy on the same machine therefore opens nothing. On the local
    socket the Control API needs a password, so that other users of this machine cannot use it
    either. A body is accepted only within the bounds of `BodyLimits`; on the local socket one of
    more than 64 KiB only with the password, or with the token of a running task.

    Args:
        inside: host and port of the local socket.
        routes: the paths that all other sockets answer, for POST.
        password: password for the Control API, in the header ``fedskin-password``.
        is_task: returns whether a request has the token of a running task, given its scope.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        inside: tuple[str, int],
        routes: Collection[str],
        password: str,
        is_task: Callable[[Scope], bool],
    ) -> None:
        self._app = app
        self._from_inside = LongPoll(BodyLimits(app, self._most_inside), ACQUIRE_TASK)
        self._from_outside = BodyLimits(app)
        self._inside = inside
        self._routes = {route: route.encode("ascii") for route in routes}
        self._password = password.encode("ascii")
        self._is_task = is_task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            log_refusal(scope)
            # Closing a websocket before it was accepted is answered with 403.
            await send({"type": "websocket.close"})
        elif not self._may_enter(scope):
            log_refusal(scope)
            await PlainTextResponse("forbidden\n", status_code=403)(scope, receive, send)
        elif self._is_inside(scope):
            await self._from_inside(scope, receive, send)
            if scope["path"] == START_RUN:
                self._from_inside.announce()
        else:
            await self._from_outside(scope, receive, send)

    def _most_inside(self, scope: Scope) -> int:
        if scope["path"].startswith(CONTROL):  # allowed by the password
            return CONTROL_BYTES
        return LARGEST_BYTES if self._is_task(scope) else SMALL_BYTES

    def _is_inside(self, scope: Scope) -> bool:
        return scope.get("server") == self._inside

    def _may_enter(self, scope: Scope) -> bool:
        if self._is_inside(scope):
            return not scope["path"].startswith(CONTROL) or self._knows_password(scope)
        # The path as sent must be the path that is routed: a SuperNode never sends one that needs
        # decoding.
        return (
            scope["method"] == "POST"
            and scope["path"] in self._routes
            and self._routes[scope["path"]] == scope.get("raw_path")
        )

    def _knows_password(self, scope: Scope) -> bool:
        header = PASSWORD_HEADER.encode("ascii")
        said = [value for name, value in scope["headers"] if name == header]
        return len(said) == 1 and hmac.compare_digest(said[0], self._password)
