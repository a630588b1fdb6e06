"""Why a coordinator is not reached, with a real TLS server on this machine's loopback."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from fl_client.site import diagnosis
from fl_client.site.diagnosis import (
    clock_fault,
    connection_fault,
    local_fault,
    refused_by_coordinator,
)
from fl_client.site.site_folder import SiteSettings
from operation.environment import free_port
from tests.fl_client.site.certificates import DAY, Authority
from tests.fl_client.site.sites import make_site


@contextmanager
def server(files: tuple[Path, Path] | None, said: bytes = b"") -> Iterator[SiteSettings]:
    """A server that shakes hands, says something and hangs up; where no files are given, no TLS."""
    context = None
    if files is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    if context is None:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    else:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            if said:
                                secured.recv(4096)
                                secured.sendall(said)
                except OSError:
                    return  # the client did not like the certificate

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        yield SiteSettings(name="a", address=f"127.0.0.1:{port}", data_dir="")
        thread.join()


def test_a_coordinator_as_it_ought_to_be(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with server(authority.issue()) as settings:
        assert connection_fault(settings, authority.certificate) is None


def test_a_foreign_certificate(tmp_path: Path) -> None:
    ours, foreign = Authority(tmp_path / "ours"), Authority(tmp_path / "foreign")
    with server(foreign.issue()) as settings:
        said = connection_fault(settings, ours.certificate)
    assert said is not None
    assert "not of the invitation's CA" in said


@pytest.mark.parametrize(
    "start, days, words",
    [
        (-5 * DAY, 4, "has expired, or this machine's clock"),
        (DAY, 2, "is not valid yet by this machine's clock"),
    ],
)
def test_certificates_out_of_their_time(tmp_path: Path, start, days: int, words: str) -> None:
    authority = Authority(tmp_path)
    with server(authority.issue(start=datetime.now(UTC) + start, days=days)) as settings:
        said = connection_fault(settings, authority.certificate)
    assert said is not None
    assert words in said


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with server(authority.issue(address="127.0.0.2")) as settings:
        said = connection_fault(settings, authority.certificate)
    assert said is not None
    assert "is for another name" in said


def test_a_server_without_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with server(None) as settings:
        said = connection_fault(settings, authority.certificate)
    assert said is not None
    assert "does not speak TLS" in said


def test_nobody_there(tmp_path: Path) -> None:
    settings = SiteSettings(name="a", address=f"127.0.0.1:{free_port()}", data_dir="")
    said = connection_fault(settings, Authority(tmp_path).certificate)
    assert said is not None
    assert "is not reachable (Connection refused)" in said


def test_a_name_that_no_dns_can_hold(tmp_path: Path) -> None:
    settings = SiteSettings(name="a", address="a..b:443", data_dir="")
    said = connection_fault(settings, Authority(tmp_path).certificate)
    assert said is not None
    assert said.startswith("the name a..b is not known here")


@pytest.mark.parametrize(
    "ahead, words",
    [
        # The coordinator says whole seconds, so that up to one is added to what is ahead.
        (3, None),
        (-299, None),
        (7, "seconds ahead of the coordinator's; set them both"),
        (-310, "seconds behind the coordinator's; set them both"),
    ],
)
def test_clocks_that_differ(tmp_path: Path, ahead: float, words: str | None) -> None:
    authority = Authority(tmp_path)
    there = datetime.now(UTC) - timedelta(seconds=ahead)
    answer = f"HTTP/1.1 403 Forbidden\r\ndate: {format_datetime(there, usegmt=True)}\r\n\r\n"
    with server(authority.issue(), answer.encode()) as settings:
        said = clock_fault(settings, authority.certificate)
    assert said is None if words is None else words in str(said)


def test_a_coordinator_that_says_no_time(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with server(authority.issue(), b"HTTP/1.1 403 Forbidden\r\n\r\n") as settings:
        assert clock_fault(settings, authority.certificate) is None
    with server(authority.issue()) as settings:
        assert clock_fault(settings, authority.certificate) is None
    settings = SiteSettings(name="a", address=f"127.0.0.1:{free_port()}", data_dir="")
    assert clock_fault(settings, authority.certificate) is None


def test_what_a_machine_itself_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(tmp_path)
    assert local_fault(site, site.settings()) is None
    monkeypatch.setattr(diagnosis, "FREE_BYTES", 1 << 62)
    assert "is free; free disk space" in str(local_fault(site, site.settings()))
    (tmp_path / "data").rmdir()
    assert "the data folder" in str(local_fault(site, site.settings()))


def test_what_flower_says_when_a_coordinator_does_not_let_a_site_in() -> None:
    assert refused_by_coordinator("ERROR : Failed …\n[code: 2004] Node activation failed")
    assert not refused_by_coordinator("INFO : SuperNode ID: 2004")
