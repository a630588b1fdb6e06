"""The sites that a coordinator has admitted or revoked."""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from operation.errors import OperationError
from operation.files import read_json, read_record, write_json
from operation.text import known_names
from training.run_folder import now

_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


@dataclass(frozen=True)
class Site:
    """A site as the coordinator knows it."""

    name: str
    public_key: str  # OpenSSH text of its EC public key
    admitted: str  # when, UTC, ISO 8601
    revoked: str | None = None  # when, or None


@dataclass(frozen=True)
class _List:
    sites: list[Site]


class Sites:
    """The list ``sites.json`` of a coordinator's folder."""

    def __init__(self, folder: CoordinatorFolder) -> None:
        self._folder = folder
        self._path = folder.path / "sites.json"

    def all(self) -> list[Site]:
        """Return all sites in the order of admission, including revoked ones.

        Raises:
            OperationError: the list is damaged.
        """
        values = read_json(self._path) or {"sites": []}
        return read_record(_List, values, self._path).sites

    def active(self) -> dict[str, Site]:
        """Return the sites that may take part, by name, in the order of their names."""
        found = {site.name: site for site in self.all() if site.revoked is None}
        return dict(sorted(found.items()))

    def admit(self, name: str, public_key: str) -> Site:
        """Add a site to the list.

        Args:
            name: letters, digits, - and _, at most 63.
            public_key: as returned by `read_public_key`.

        Raises:
            OperationError: the name is not allowed, or name or key are already used.
        """
        if not _NAME.fullmatch(name):
            raise OperationError(
                f"--name {name!r}: allowed are letters, digits, - and _, at most 63 of them"
            )
        with self._folder.changing():
            sites = self.all()
            for site in sites:
                state = "was revoked" if site.revoked else "is admitted"
                if site.name.lower() == name.lower():
                    raise OperationError(
                        f"--name {name}: is taken, {site.name} {state}; choose another name"
                    )
                if site.public_key == public_key:
                    raise OperationError(
                        f"this key is that of {site.name}, which {state}; a site's key is made by  "
                        "fedskin site init  and must be its own"
                    )
            new = Site(name, public_key, now())
            self._write([*sites, new])
        return new

    def revoke(self, name: str) -> None:
        """Exclude a site permanently.

        Raises:
            OperationError: there is no such site, or it is already revoked.
        """
        with self._folder.changing():
            sites = self.all()
            found = next((site for site in sites if site.name == name), None)
            if found is None:
                known = [site.name for site in sites] or ["none"]
                raise OperationError(f"{name}: no such site; {known_names(name, known)}")
            if found.revoked:
                raise OperationError(f"{name}: was revoked already, on {found.revoked}")
            self._write([replace(s, revoked=now()) if s is found else s for s in sites])

    def _write(self, sites: list[Site]) -> None:
        write_json(self._path, {"sites": [asdict(site) for site in sites]})


def read_public_key(path: Path) -> str:
    """Read the public key that a site sent, as OpenSSH text without its comment.

    Raises:
        OperationError: the file has no EC public key, or a private one.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperationError(f"{path}: cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY" in content:
        raise OperationError(
            f"{path}: is a private key, which must never leave its site; have the site make a new "
            "one with  fedskin site init  and send the file NAME.pub"
        )
    try:
        key = serialization.load_ssh_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise OperationError(
            f"{path}: is not an EC public key; the site's file is NAME.pub, made by  "
            "fedskin site init"
        )
    encoded = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return encoded.decode("ascii")
