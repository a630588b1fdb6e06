"""The door alone: which requests are passed on, by socket, path and password."""

import asyncio
from typing import Any

import pytest

from fl_server.coordinator.door import CONTROL, PASSWORD_HEADER, Door, password

INSIDE = ("127.0.0.1", 5000)
OUTSIDE = ("127.0.0.1", 443)  # the same address, as behind a reverse proxy
ROUTE = "/v1/fleet/pull-messages"
PASSWORD = password(b"secret")


def status(server: tuple[str, int] | None, path: str = ROUTE, **changes: Any) -> int:
    """Return the status of the answer; 200 is that of the app behind the door."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "server": server,
        "client": ("10.0.0.1", 1234),
        **changes,
    }
    sent = []

    async def behind(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        assert server == INSIDE or path == ROUTE, "nobody reads what a stranger sends"
        return {"type": "http.request", "body": b""}

    door = Door(
        behind,
        inside=INSIDE,
        routes=[ROUTE],
        password=PASSWORD,
        is_task=lambda scope: (b"token", b"known") in scope["headers"],
    )
    asyncio.run(door(scope, receive, send))
    return int(sent[0].get("status", 0))


def test_outside_an_exact_route_is_answered() -> None:
    assert status(OUTSIDE) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"},
        {"path": "/v1/control/start-run"},
        {"path": ROUTE + "/"},
        {"path": "/"},
        {"raw_path": b"/v1/fleet/%70ull-messages"},
        {"raw_path": None},
        {"headers": [(PASSWORD_HEADER.encode(), PASSWORD.encode())], "path": CONTROL + "/x"},
    ],
)
def test_outside_all_else_is_refused(changes: dict[str, Any]) -> None:
    assert status(OUTSIDE, **changes) == 403


@pytest.mark.parametrize(
    "server", [None, ("127.0.0.1", None), ("127.0.0.2", 5000), ("/sock", 5000)]
)
def test_a_socket_that_is_not_known_is_outside(server: Any) -> None:
    assert status(server, "/health") == 403


@pytest.mark.parametrize("path", ["/health", "/v1/runtime/acquire-task", ROUTE])
def test_inside_is_open(path: str) -> None:
    assert status(INSIDE, path, method="GET") == 200


def test_outside_a_body_that_is_too_large_is_refused_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    headers = [(b"content-length", b"600000000")]
    assert status(OUTSIDE, headers=headers) == 413
    [record] = caplog.records
    assert record.getMessage() == (
        "refused 10.0.0.1:1234 POST b'/v1/fleet/pull-messages': "
        "a body of 600000000 bytes, and 8388608 are allowed"
    )


@pytest.mark.parametrize(
    "headers, path, most",
    [
        ([], "/v1/runtime/push-object", 65536),
        ([(b"token", b"guess")], "/v1/runtime/push-object", 65536),
        ([(b"token", b"known")], "/v1/runtime/push-object", 8388608),
        ([(PASSWORD_HEADER.encode(), PASSWORD.encode())], CONTROL + "/start-run", 16777216),
    ],
)
def test_inside_a_larger_body_is_let_in_from_who_knows_a_token_or_the_password(
    headers: list[tuple[bytes, bytes]], path: str, most: int
) -> None:
    for length, expected in ((most, 200), (most + 1, 413)):
        said = [*headers, (b"content-length", str(length).encode())]
        assert status(INSIDE, path, headers=said) == expected


@pytest.mark.parametrize(
    "said, expected",
    [([], 403), (["guess"], 403), ([PASSWORD], 200), ([PASSWORD, "guess"], 403)],
)
def test_inside_the_control_api_wants_the_password(said: list[str], expected: int) -> None:
    headers = [(PASSWORD_HEADER.encode(), word.encode()) for word in said]
    assert status(INSIDE, CONTROL + "/start-run", headers=headers) == expected


def test_a_password_says_nothing_of_the_secret() -> None:
    """It is an HMAC: the secret is also what Flower signs with."""
    assert b"secret".hex() not in PASSWORD
    assert password(b"another") != PASSWORD


@pytest.mark.parametrize("server", [INSIDE, OUTSIDE])
def test_there_are_no_websockets(server: tuple[str, int]) -> None:
    assert status(server, "/health", type="websocket") == 0


def test_what_is_logged_of_a_stranger_is_short_and_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    status(OUTSIDE, "/x", raw_path=b"/x\nrefused 1.2.3.4\x1b[0m" + b"y" * 10_000)
    [record] = caplog.records
    said = record.getMessage()
    assert said.startswith("refused 10.0.0.1:1234 POST b'/x")
    assert len(said) < 300
    assert said.isprintable()
