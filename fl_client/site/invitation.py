"""A coordinator's invitation to a site: the certificate to trust, and the address."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from fl_client.site.settings_file import TomlTable, read_settings
from operation.errors import OperationError

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})")


@dataclass(frozen=True)
class Invitation:
    """A valid invitation."""

    address: str  # ``HOST:PORT`` of the coordinator
    ca: bytes  # its CA certificate, PEM
    fingerprint: str  # the certificate's SHA-256, in colon-separated hex, to compare by telephone


class _InvitationFile(TomlTable):
    address: str
    version: str


def read_invitation(folder: Path) -> Invitation:
    """Read the folder that a coordinator's ``init`` made.

    Raises:
        OperationError: it is not an invitation, is of another version, or its certificate is not a
            CA's or has expired.
    """
    if not (folder / "invitation.toml").is_file() or not (folder / "ca.crt").is_file():
        raise OperationError(
            f"{folder}: is not an invitation; it must hold invitation.toml and ca.crt, as the "
            "coordinator sends them"
        )
    stated = read_settings(_InvitationFile, folder / "invitation.toml")
    split_address(stated.address)
    installed = metadata.version("fedskin")
    if stated.version != installed:
        raise OperationError(
            f"{folder}: is an invitation of fedskin {stated.version}, but {installed} is "
            "installed here; install the coordinator's version, or ask it for a new invitation: "
            "it is made with each bundle"
        )
    ca = (folder / "ca.crt").read_bytes()
    return Invitation(stated.address, ca, ca_fingerprint(ca, folder / "ca.crt"))


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; an IPv6 address is in brackets.

    Raises:
        OperationError: it has another form.
    """
    found = _ADDRESS.fullmatch(address)
    if not found or not 0 < int(found[2]) < 65536:
        raise OperationError(f"address = {address!r}: write it as HOST:PORT")
    return found[1].strip("[]"), int(found[2])


def ca_fingerprint(ca: bytes, path: Path) -> str:
    """Return the SHA-256 of a CA certificate that is valid now.

    Raises:
        OperationError: it is not a CA certificate, or not valid now.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        certificate = x509.load_pem_x509_certificate(ca)
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not basic.ca:
            raise ValueError("not a CA")
    except (ValueError, x509.ExtensionNotFound):
        raise OperationError(
            f"{path}: is not the certificate of a CA; ask the coordinator for a new invitation"
        ) from None
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise OperationError(
            f"{path}: is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}, and this machine's clock says "
            f"{now:%Y-%m-%d}; set the clock, or ask the coordinator for a new invitation"
        )
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()
