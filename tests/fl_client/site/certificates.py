"""Certificates as a coordinator makes them, with any given fault."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Authority:
    """A CA that was valid from yesterday on, for ``days`` days."""

    def __init__(self, folder: Path, days: int = 10) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP384R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        start = datetime.now(UTC) - DAY
        certificate = self._sign(
            self._name, self._key.public_key(), start, start + days * DAY, authority=True
        )
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(certificate)

    def issue(
        self, *, address: str = "127.0.0.1", start: datetime | None = None, days: int = 2
    ) -> tuple[Path, Path]:
        """Return the files of a server certificate and its key."""
        key = ec.generate_private_key(ec.SECP384R1())
        start = start or datetime.now(UTC) - DAY
        certificate, private = self.folder / "server.crt", self.folder / "server.key"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test server")])
        certificate.write_bytes(
            self._sign(name, key.public_key(), start, start + days * DAY, address=address)
        )
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def _sign(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        start: datetime,
        end: datetime,
        *,
        authority: bool = False,
        address: str | None = None,
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if authority:
            usage = x509.KeyUsage(
                **dict.fromkeys(
                    (
                        *("digital_signature", "content_commitment", "key_encipherment"),
                        *("data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
                    ),
                    False,
                ),
                key_cert_sign=True,
                crl_sign=True,
            )
            builder = builder.add_extension(usage, critical=True)
        if address is not None:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)
