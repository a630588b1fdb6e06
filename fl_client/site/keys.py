"""A site's key pair and its secret. Nothing here is sent."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from operation.errors import OperationError
from operation.files import write_secret, write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def make_key_pair(private_path: Path, public_path: Path, comment: str) -> None:
    """Make a key pair unless there is one already: EC P-384, OpenSSH format.

    Flower accepts elliptic curves only. The private key is readable by its owner only, from the
    first byte on.

    Raises:
        OperationError: the existing private key cannot be read.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not private_path.exists():
        key = ec.generate_private_key(ec.SECP384R1())
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        write_secret(private_path, text)
    public = load_key(private_path).public_key()
    line = public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).decode("ascii")
    write_text(public_path, f"{line} {comment}\n")


def load_key(path: Path) -> "EllipticCurvePrivateKey":
    """Return the private key of a file.

    Raises:
        OperationError: it is missing, or not an EC private key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise OperationError(f"{path}: is not there; restore it from a backup") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise OperationError(f"{path}: is not this site's private key; restore it from a backup")
    return key


def make_secret(path: Path) -> None:
    """Make the secret that this site's own processes share, unless there is one."""
    if not path.exists():
        write_secret(path, secrets.token_hex(32).encode("ascii"))
