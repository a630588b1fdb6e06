"""From outside only the Fleet API answers, and only to admitted sites; with real processes."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.sites import Sites
from operation.body_limits import LARGEST_BYTES
from operation.files import read_json
from operation.http_bounds import HEAD_LINES
from operation.processes import processes_of
from operation.serving import serving
from tests.fl_server.coordinator.support import (
    PUBLIC,
    make_folder,
    make_key,
    served,
    supernode,
)
from tests.runs import wait_until

pytestmark = pytest.mark.slow

# Neither the address that is listened on nor that of the coordinator's own processes.
STRANGER = "127.0.0.3"

FLEET = "/v1/fleet/pull-messages"
SUBMIT = "/v1/control/start-run"
CLOSED = [
    ("POST", SUBMIT),
    ("POST", "/v1/control/register-node"),
    ("POST", "/v1/control/list-runs"),
    ("POST", "/v1/control/list-nodes"),
    ("POST", "/v1/runtime/acquire-task"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/health"),
    ("GET", "/"),
    ("GET", FLEET),
    ("OPTIONS", "*"),
    # Ways to say one path and mean another.
    ("POST", "/v1/fleet/../control/start-run"),
    ("POST", "/v1/fleet/%2e%2e/control/start-run"),
    ("POST", "/v1/fleet/..%2fcontrol/start-run"),
    ("POST", FLEET + "/../../control/start-run"),
    ("POST", "//v1/control/start-run"),
    ("POST", "//v1/fleet/pull-messages"),
    ("POST", "/v1//fleet/pull-messages"),
    ("POST", FLEET + "/"),
    ("POST", FLEET + "%00"),
    ("POST", FLEET + ";/v1/control/start-run"),
    ("POST", "/v1/fleet/%70ull-messages"),
    ("POST", "/V1/FLEET/PULL-MESSAGES"),
    ("POST", "/v1/fleet"),
    ("POST", "http://127.0.0.1/v1/control/start-run"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorFolder]:
    """A coordinator that is served, with one site that was admitted."""
    path = tmp_path_factory.mktemp("doors")
    folder = make_folder(path / "coordinator")
    Sites(folder).admit("hospital-a", make_key(path / "key"))
    with served(folder):
        wait_until(lambda: (folder.logs / "superexec.log").exists())
        yield folder


def ask(
    folder: CoordinatorFolder,
    method: str,
    path: str,
    *headers: str,
    inside: int = 0,
    body: bytes | None = None,
) -> int:
    """Send a request byte for byte, from another address, and return the status."""
    port = folder.settings().port
    context = ssl.create_default_context(cafile=folder.ca_certificate)
    where = ("127.0.0.1", inside) if inside else (PUBLIC, port)
    lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close"]
    if body is None:
        lines.append("Content-Length: 0")
    if not any(header.startswith("Host:") for header in headers):
        lines.insert(1, f"Host: {where[0]}:{where[1]}")
    with (
        socket.create_connection(where, timeout=30, source_address=(STRANGER, 0)) as plain,
        context.wrap_socket(plain, server_hostname=where[0]) as stream,
    ):
        stream.sendall("".join(line + "\r\n" for line in [*lines, ""]).encode("ascii"))
        stream.sendall(body or b"")
        return int(stream.recv(65536).split()[1])


def inside_port(folder: CoordinatorFolder) -> int:
    """The port at which the coordinator's own processes reach its SuperLink."""
    now = serving(folder.path)
    assert now is not None
    for process in processes_of(now.token):
        for word in process.cmdline():
            if word.startswith("127.0.0.1:"):
                return int(word.removeprefix("127.0.0.1:"))
    raise AssertionError


@pytest.mark.parametrize("method, path", CLOSED)
def test_everything_but_the_fleet_api_is_refused_and_logged(
    method: str, path: str, folder: CoordinatorFolder
) -> None:
    assert ask(folder, method, path) == 403
    last = (folder.logs / "door.log").read_text().splitlines()[-1]
    assert f"refused {STRANGER}:" in last
    assert last.endswith(f"{method} b'{path.removeprefix('http://127.0.0.1')}'")


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "X-Forwarded-Prefix: /v1/control",
        "X-Original-URL: /v1/control/start-run",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
    ],
)
def test_no_header_opens_the_door(header: str, folder: CoordinatorFolder) -> None:
    assert ask(folder, "POST", SUBMIT, header) == 403
    assert f"refused {STRANGER}:" in (folder.logs / "door.log").read_text().splitlines()[-1]


def test_the_fleet_api_answers_strangers_with_flowers_own_refusal(
    folder: CoordinatorFolder,
) -> None:
    assert ask(folder, "POST", FLEET, "Content-Type: application/protobuf") == 401


@pytest.mark.parametrize(
    "header, body",
    [
        ("Content-Length: 600000000", b""),
        ("Transfer-Encoding: chunked", b"%x\r\n" % (LARGEST_BYTES + 1) + bytes(LARGEST_BYTES + 1)),
    ],
)
def test_a_stranger_cannot_fill_the_memory(
    header: str, body: bytes, folder: CoordinatorFolder
) -> None:
    assert ask(folder, "POST", FLEET, header, body=body) == 413
    last = (folder.logs / "door.log").read_text().splitlines()[-1]
    assert f"refused {STRANGER}:" in last
    assert "a body of" in last


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    "head", [b"a: b\r\n" * (HEAD_LINES + 1), b"a: " + b"b" * 300_000], ids=["lines", "bytes"]
)
def test_headers_without_end_are_refused_and_logged(
    head: bytes, inside: bool, folder: CoordinatorFolder
) -> None:
    """Without key and secret: less than a tenth of a megabyte is kept of an endless request."""
    now = serving(folder.path)
    assert now is not None
    [superlink] = [
        process
        for process in processes_of(now.token)
        if "fl_server.coordinator.superlink" in process.cmdline()
    ]
    port = inside_port(folder) if inside else 0
    before = superlink.memory_info().rss
    assert ask(folder, "POST", FLEET, head.decode("ascii"), inside=port) == 431
    assert superlink.memory_info().rss < before + 10e6
    last = (folder.logs / "door.log").read_text().splitlines()[-1]
    assert f"refused {STRANGER}:" in last
    assert "headers" in last


def test_this_machine_needs_the_password_or_the_secret(folder: CoordinatorFolder) -> None:
    port = inside_port(folder)
    assert ask(folder, "GET", "/health", inside=port) == 200
    assert ask(folder, "POST", SUBMIT, inside=port) == 403
    assert ask(folder, "POST", SUBMIT, "fedskin-password: guess", inside=port) == 403
    body = "Content-Type: application/protobuf"
    assert ask(folder, "POST", "/v1/runtime/acquire-task", body, inside=port) == 401
    large = "Content-Length: 600000000"
    assert ask(folder, "POST", "/v1/runtime/push-object", large, inside=port, body=b"") == 413


def test_who_was_admitted_is_let_in_and_nobody_else(
    folder: CoordinatorFolder, tmp_path: Path
) -> None:
    make_key(tmp_path / "foreign")
    with (
        supernode(folder, folder.path.parent / "key", tmp_path / "site"),
        supernode(folder, tmp_path / "foreign", tmp_path / "stranger"),
    ):
        wait_until(lambda: read_json(folder.connected) == {"sites": ["hospital-a"]})
        output = tmp_path / "stranger" / "output"
        wait_until(lambda: "2004" in output.read_text())
        assert read_json(folder.connected) == {"sites": ["hospital-a"]}
        # Shut out while it is connected.
        Sites(folder).revoke("hospital-a")
        wait_until(lambda: read_json(folder.connected) == {"sites": []})
