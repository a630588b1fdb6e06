"""A server's bounds on request headers, tested with raw connections."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from operation import http_bounds
from operation.body_limits import BodyLimits
from operation.environment import free_port
from operation.http_bounds import HEAD_BYTES, HEAD_LINES, bounded_server

SECONDS = 0.5  # in place of HEAD_SECONDS
HEAD = b"POST / HTTP/1.1\r\nHost: h\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer how long the body was; to GET before it has come."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    body = b"" if scope["method"] == "GET" else await Request(scope, receive).body()
    if scope["path"] == "/late-end":
        # As an app behind Starlette's middleware: the whole body is sent, and its end afterwards.
        head = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b""})
        return
    await PlainTextResponse(f"{len(body)} bytes")(scope, receive, send)


@pytest.fixture(scope="module")
def connect() -> Iterator[Callable[[], socket.socket]]:
    """A function that opens connections to a served app."""
    patch = pytest.MonkeyPatch()
    patch.setattr(http_bounds, "HEAD_SECONDS", SECONDS)
    port = free_port()
    server = bounded_server(BodyLimits(echo), host="127.0.0.1", port=port)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield lambda: socket.create_connection(("127.0.0.1", port), timeout=30)
    server.should_exit = True
    thread.join()
    patch.undo()


def everything(stream: socket.socket) -> str:
    """Return everything received until the connection is closed."""
    found = b""
    try:
        while piece := stream.recv(65536):
            found += piece
    except ConnectionError:  # closed with bytes of ours unread
        pass
    return found.decode("ascii")


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "operation.body_limits"]


def test_requests_within_the_bounds_follow_one_another(
    connect: Callable[[], socket.socket],
) -> None:
    filling = b"".join(b"X-%d: a\r\n" % number for number in range(HEAD_LINES - 2))
    with connect() as stream:
        for number in range(3):
            stream.sendall(HEAD + filling + b"Content-Length: 70000\r\n\r\n" + bytes(70000))
            assert b"70000 bytes" in stream.recv(65536), number
        stream.sendall(CHUNKED + b"2\r\nab\r\n3\r\ncde\r\n0\r\nX: trailer\r\n\r\n")
        assert b"5 bytes" in stream.recv(65536)


def test_a_request_may_follow_as_soon_as_the_last_one_is_answered(
    connect: Callable[[], socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    """Its sender has the whole answer, though the app has not yet said that it was all."""
    late = HEAD.replace(b"/", b"/late-end", 1) + b"Content-Length: 70000\r\n\r\n"
    with connect() as stream:
        for number in range(3):
            stream.sendall(late + bytes(70000))
            answer = b""
            while not answer.endswith(b"ok"):
                piece = stream.recv(65536)
                assert piece, "the connection was closed"
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200"), number
        stream.sendall(late)
        time.sleep(0.2)
        stream.sendall(bytes(70000))
        assert stream.recv(65536).startswith(b"HTTP/1.1 200")
    assert refusals(caplog) == []


LINES = b"a:b\r\n" * (HEAD_LINES + 1)


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + LINES + b"\r\n",
        HEAD + b"X: " + bytes([97]) * HEAD_BYTES,
        HEAD + bytes([97]) * HEAD_BYTES,
        b"POST /" + bytes([97]) * HEAD_BYTES,
        bytes([97]) * 20 + b" ",
        # Behind the head: trailers, and chunks that are all frame.
        CHUNKED + b"0\r\n" + LINES,
        CHUNKED + b"0\r\nX: " + bytes([97]) * HEAD_BYTES,
        CHUNKED + b"1\r\na\r\n" * HEAD_BYTES,
        CHUNKED + b"1;" + bytes([97]) * HEAD_BYTES,
    ],
    ids=["lines", "value", "name", "url", "method", "trailers", "trailer", "chunks", "extension"],
)
def test_what_stands_beside_a_body_is_bounded_and_logged(
    sent: bytes, connect: Callable[[], socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    with connect() as stream:
        stream.sendall(sent)
        said = everything(stream)
    status = "400 Bad Request" if sent.startswith(b"aaa") else "431 Request Header Fields Too Large"
    assert said.startswith(f"HTTP/1.1 {status}\r\n")
    [line] = refusals(caplog)
    assert line.startswith("refused 127.0.0.1:")


def test_it_is_bounded_also_byte_by_byte_and_by_request(
    connect: Callable[[], socket.socket],
) -> None:
    """Twice half the bound is within it, since a request that has come counts no more."""
    half = b"X: " + bytes([97]) * (HEAD_BYTES // 2) + b"\r\n"
    with connect() as stream:
        for _ in range(3):
            stream.sendall(HEAD + half + b"\r\n")
            assert b"0 bytes" in stream.recv(65536)
        stream.sendall(HEAD + half)
        stream.sendall(half)
        assert everything(stream).startswith("HTTP/1.1 431 ")


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\n"], ids=["first", "second"])
def test_a_head_that_comes_too_slowly_is_answered_and_logged(
    before: bytes, connect: Callable[[], socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    with connect() as stream:
        if before:
            stream.sendall(before)
            assert b"0 bytes" in stream.recv(65536)
        began = time.monotonic()
        stream.sendall(HEAD)
        assert everything(stream).startswith("HTTP/1.1 408 ")
        assert time.monotonic() - began >= SECONDS / 2
    [line] = refusals(caplog)
    assert "headers that took more than" in line


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\n"], ids=["never", "after a request"])
def test_a_connection_that_says_nothing_is_closed(
    before: bytes, connect: Callable[[], socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    with connect() as stream:
        stream.sendall(before)
        said = everything(stream)
    assert said.startswith("HTTP/1.1 200 ") if before else said == ""
    assert not refusals(caplog)


def test_blank_lines_are_no_sign_of_life(connect: Callable[[], socket.socket]) -> None:
    """They may stand before a request, and no request begins with them."""
    with connect() as stream:
        deadline = time.monotonic() + 20 * SECONDS
        try:
            while time.monotonic() < deadline:
                stream.sendall(b"\r\n")
                time.sleep(SECONDS / 5)
        except ConnectionError:
            return
    raise AssertionError("the connection is open still")


def test_requests_are_not_collected(connect: Callable[[], socket.socket]) -> None:
    """A second one waits for the answer to the first: else thousands come in one packet."""
    with connect() as stream:
        stream.sendall((HEAD + b"Content-Length: 0\r\n\r\n") * 1000)
        assert everything(stream).startswith("HTTP/1.1 400 ")


def test_nothing_more_is_read_of_a_request_that_was_answered(
    connect: Callable[[], socket.socket],
) -> None:
    with connect() as stream:
        stream.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000000\r\n\r\n")
        assert everything(stream).startswith("HTTP/1.1 413 ")


def test_a_sender_that_does_not_stop_is_cut_off(connect: Callable[[], socket.socket]) -> None:
    began = time.monotonic()
    with connect() as stream:
        try:
            stream.sendall(HEAD + b"X: ")
            while time.monotonic() < began + 20:
                stream.sendall(bytes([97]) * 65536)
        except ConnectionError:
            return
    raise AssertionError("it goes on being read")
