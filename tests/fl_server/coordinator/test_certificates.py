"""Certificates that a site's TLS accepts, for their names and during their validity."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fl_server.coordinator import certificates
from fl_server.coordinator.certificates import (
    CA_DAYS,
    SERVER_DAYS,
    certificate_fingerprint,
    check_server_certificate,
    make_authority,
    make_server_certificate,
    read_certificate,
)
from operation.errors import OperationError


class Folder:
    """Where a test keeps certificates."""

    def __init__(self, path: Path) -> None:
        self.authority, self.authority_key = path / "ca.crt", path / "ca.key"
        self.server, self.server_key = path / "server.crt", path / "server.key"

    def make(self, host: str = "fed.example.org") -> None:
        make_server_certificate(
            host,
            certificate=self.server,
            key=self.server_key,
            ca_certificate=self.authority,
            ca_key=self.authority_key,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    make_authority(folder.authority, folder.authority_key)
    folder.make()
    return folder


def handshake(folder: Folder, name: str) -> str | None:
    """Meet a server with the certificate over loopback, as strictly as Python can be.

    Returns:
        The version of TLS that the two agreed on.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder.server, folder.server_key)
    client = ssl.create_default_context(cafile=folder.authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            plain, _ = listening.accept()
            with plain:
                try:
                    server.wrap_socket(plain, server_side=True).close()
                except OSError:
                    return  # the client did not like it, which is what it will say itself

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname()) as plain,
                client.wrap_socket(plain, server_hostname=name) as met,
            ):
                return met.version()
        finally:
            thread.join()


@pytest.mark.parametrize("name", ["fed.example.org", "localhost", "127.0.0.1"])
def test_a_site_accepts_the_server_by_its_names(name: str, folder: Folder) -> None:
    assert handshake(folder, name) == "TLSv1.3"


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "localhost"])
def test_a_host_may_be_an_address(host: str, folder: Folder) -> None:
    folder.make(host)
    assert handshake(folder, host) == "TLSv1.3"


def test_another_name_is_refused(folder: Folder) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(folder, "other.example.org")


def test_a_server_of_another_authority_is_refused(folder: Folder) -> None:
    make_authority(folder.authority, folder.authority_key)
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(folder, "localhost")


def test_keys_are_for_their_owner_alone(folder: Folder) -> None:
    for key in (folder.authority_key, folder.server_key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_they_last_ten_years_and_two(folder: Folder) -> None:
    now = datetime.now(UTC)
    for path, days in ((folder.authority, CA_DAYS), (folder.server, SERVER_DAYS)):
        certificate = read_certificate(path)
        left = certificate.not_valid_after_utc - now
        assert timedelta(days=days, minutes=-5) < left < timedelta(days=days, minutes=5)
        assert certificate.not_valid_before_utc < now


def test_a_server_certificate_does_not_outlast_its_authority(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "CA_DAYS", 100)
    make_authority(folder.authority, folder.authority_key)
    folder.make()
    authority, server = read_certificate(folder.authority), read_certificate(folder.server)
    assert server.not_valid_after_utc == authority.not_valid_after_utc


def test_a_renewed_certificate_is_accepted_by_who_knows_the_authority(folder: Folder) -> None:
    before = read_certificate(folder.server)
    folder.make()
    assert read_certificate(folder.server).serial_number != before.serial_number
    handshake(folder, "fed.example.org")


def test_nothing_is_signed_by_an_authority_that_ended(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "CA_DAYS", 0)
    make_authority(folder.authority, folder.authority_key)
    with pytest.raises(OperationError, match=r"ca.crt: expired on 20.*coordinator init"):
        folder.make()


def test_the_authority_signs_servers_only(folder: Folder) -> None:
    constraints = read_certificate(folder.authority).extensions.get_extension_for_class(
        x509.BasicConstraints
    )
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_a_fingerprint_can_be_read_aloud(folder: Folder) -> None:
    pairs = certificate_fingerprint(read_certificate(folder.authority)).split(":")
    assert len(pairs) == 32  # SHA-256
    assert all(len(pair) == 2 and int(pair, 16) >= 0 and pair == pair.upper() for pair in pairs)


def test_a_certificate_that_ended_is_not_served(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "SERVER_DAYS", 0)
    folder.make()
    with pytest.raises(OperationError, match=r"server.crt: expired on .* coordinator renew"):
        check_server_certificate(folder.server, folder.server_key)


def test_a_certificate_of_the_future_blames_the_clock(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_BACKDATED", timedelta(hours=-2))
    folder.make()
    with pytest.raises(OperationError, match="correct this machine's clock"):
        check_server_certificate(folder.server, folder.server_key)


def test_a_key_of_another_certificate_is_said(folder: Folder) -> None:
    folder.server_key.write_bytes(folder.authority_key.read_bytes())
    with pytest.raises(OperationError, match=r"does not fit .*coordinator renew"):
        check_server_certificate(folder.server, folder.server_key)


def test_files_that_are_gone_or_damaged_are_named(folder: Folder) -> None:
    folder.authority_key.write_text("no key")
    with pytest.raises(OperationError, match=r"ca.key: is missing or no private key"):
        folder.make()
    folder.authority.unlink()
    with pytest.raises(OperationError, match=r"ca.crt: is missing or no certificate"):
        folder.make()
