"""The page's socket, and the names by which a browser may ask for it."""

import socket
from collections.abc import Iterator

import pytest

from experiments.showing.listening import address_of, is_local, is_meant, listen
from operation.errors import OperationError


@pytest.fixture
def local() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listening:
        yield listening


def test_a_port_that_is_taken_is_named(local: socket.socket) -> None:
    port = local.getsockname()[1]
    assert is_local(local)
    assert address_of(local) == f"http://127.0.0.1:{port}"
    with pytest.raises(OperationError, match=f"127.0.0.1 port {port}: is taken by another"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such name", "a" * 70 + ".example"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(OperationError, match="is not of this machine; take another --host"):
        listen(host, 0)


def test_only_names_of_this_server_are_meant(local: socket.socket) -> None:
    port = local.getsockname()[1]
    assert is_meant(f"127.0.0.1:{port}", local)
    assert is_meant(f"localhost:{port}", local)
    wrong = ["127.0.0.1", f"127.0.0.1:{port - 1}", f"evil.example:{port}", "", f"127.0.0.2:{port}"]
    wrong += [f"127.0.0.1.evil.example:{port}", f"127.0.0.1:{port}x", "[::1", f":{port}"]
    assert [host for host in wrong if is_meant(host, local)] == []


def test_on_all_addresses_other_names_than_this_machines_are_refused() -> None:
    with listen("0.0.0.0", 0) as listening:
        port = listening.getsockname()[1]
        assert not is_local(listening)
        assert address_of(listening) == f"http://{socket.gethostname()}:{port}"
        for host in ("192.0.2.7", "localhost", socket.gethostname(), "[2001:db8::1]"):
            assert is_meant(f"{host}:{port}", listening), host
        assert not is_meant(f"evil.example:{port}", listening)
