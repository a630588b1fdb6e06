"""The coordinator's own certificate authority: its two certificates and their expiry."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from operation.errors import OperationError
from operation.files import write_secret, write_text

CA_DAYS = 3650
SERVER_DAYS = 730

# For a site whose clock is a little behind, the certificate must already be valid.
_BACKDATED = timedelta(hours=1)


def make_authority(certificate: Path, key: Path) -> None:
    """Make a certificate authority that is valid for ten years.

    Args:
        certificate: file to write, which is sent to the sites.
        key: file to write, readable by its owner only.
    """
    private = ec.generate_private_key(ec.SECP384R1())
    name = _name("fedskin coordinator CA")
    made = (
        _builder(name, name, private.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()), critical=False
        )
        .sign(private, hashes.SHA384())
    )
    write_secret(key, _key_bytes(private))
    write_text(certificate, _text(made))


def make_server_certificate(
    host: str, *, certificate: Path, key: Path, ca_certificate: Path, ca_key: Path
) -> None:
    """Make a server certificate valid for two years, but no longer than its authority.

    Args:
        host: DNS name or IP address by which the sites know the server; the certificate is also for
            this machine's own names, ``localhost`` and 127.0.0.1.
        certificate, key: files to write, or to replace.
        ca_certificate, ca_key: the authority's, written by `make_authority`.

    Raises:
        OperationError: the authority has expired, or its files cannot be read.
    """
    authority = read_certificate(ca_certificate)
    if authority.not_valid_after_utc <= datetime.now(UTC):
        raise OperationError(
            f"{ca_certificate}: expired on {_day(authority)}; make a new coordinator folder with  "
            "fedskin coordinator init  and invite the sites again"
        )
    try:
        signer = serialization.load_pem_private_key(ca_key.read_bytes(), password=None)
    except (OSError, ValueError):
        raise OperationError(
            f"{ca_key}: is missing or no private key; restore it from a backup"
        ) from None
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    private = ec.generate_private_key(ec.SECP384R1())
    made = (
        _builder(
            _name("fedskin coordinator"),
            authority.subject,
            private.public_key(),
            SERVER_DAYS,
            latest=authority.not_valid_after_utc,
        )
        .add_extension(_names(host), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA384())
    )
    # An interrupted renewal leaves a key that does not match its certificate; renewing again
    # repairs it.
    write_secret(key, _key_bytes(private))
    write_text(certificate, _text(made))


def read_certificate(path: Path) -> x509.Certificate:
    """Read a PEM certificate.

    Raises:
        OperationError: the file is missing or has no certificate.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise OperationError(
            f"{path}: is missing or no certificate; restore it from a backup"
        ) from None


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate as people compare it: pairs of hex digits."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def check_server_certificate(certificate: Path, key: Path) -> x509.Certificate:
    """Return the server certificate if it can be used now.

    Raises:
        OperationError: it has expired, is not valid yet by this machine's clock, or its key does
            not match.
    """
    found = read_certificate(certificate)
    renew = f"make a new one with  fedskin coordinator renew {certificate.parent}"
    if found.not_valid_after_utc <= datetime.now(UTC):
        raise OperationError(f"{certificate}: expired on {_day(found)}; {renew}")
    if found.not_valid_before_utc > datetime.now(UTC):
        raise OperationError(
            f"{certificate}: is valid from {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, but "
            f"here it is {datetime.now(UTC):%Y-%m-%d %H:%M}; correct this machine's clock"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise OperationError(f"{key}: is missing, or does not fit {certificate}; {renew}") from None
    return found


def _day(certificate: x509.Certificate) -> str:
    return certificate.not_valid_after_utc.date().isoformat()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(end, latest or end))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _names(host: str) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for name in dict.fromkeys((host, "localhost", "127.0.0.1")):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            names.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(names)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
