"""The coordinator's folder: its settings, its keys, and the files for the sites."""

import ipaddress
import re
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import tomli_w
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from operation.errors import OperationError
from operation.files import parse_toml, write_secret, write_text
from operation.text import known_names

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


class CoordinatorSettings(BaseModel):
    """The contents of ``coordinator.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    host: str  # DNS name or IP address by which the sites reach the coordinator
    port: int = Field(ge=1, le=65535)  # TCP port on which it listens and the sites reach it
    bind: str  # IP address of this machine to listen on

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        if not _is_address(host) and not (_HOST.fullmatch(host) and len(host) <= 253):
            raise ValueError("a DNS name or an IP address, without port")
        return host

    @field_validator("bind")
    @classmethod
    def _check_bind(cls, bind: str) -> str:
        if not _is_address(bind):
            raise ValueError("an IP address of this machine, or 0.0.0.0 for all of them")
        return bind

    @property
    def address(self) -> str:
        """The address that the sites connect to, as HOST:PORT."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def check_settings(values: dict[str, object], where: str) -> CoordinatorSettings:
    """Check settings from a file or a command line.

    Raises:
        OperationError: names every wrong key, one line each.
    """
    try:
        return CoordinatorSettings.model_validate(values)
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            key = fault["loc"][0]
            if fault["type"] == "extra_forbidden":
                meant = known_names(str(key), CoordinatorSettings.model_fields)
                lines.append(
                    f"{where}: {key}: unknown key, or one of another version of fedskin; {meant}"
                )
            elif fault["type"] == "missing":
                lines.append(f"{where}: {key} is missing; restore the file from a backup")
            else:
                said = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
                lines.append(f"{where}: {key} = {fault['input']!r}: allowed is {said}")
    raise OperationError("\n".join(lines))


class CoordinatorFolder:
    """A coordinator's folder; it contains everything that the coordinator knows."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.ca_certificate = self.path / "ca.crt"
        self.ca_key = self.path / "ca.key"
        self.certificate = self.path / "server.crt"
        self.key = self.path / "server.key"
        self.secret = self.path / "secret"
        self.invitation = self.path / "invitation"
        self.connected = self.path / "connected.json"
        self.places = self.path / "places.toml"
        self.runs = self.path / "runs"
        self.logs = self.path / "logs"

    @property
    def bundle(self) -> Path:
        """The bundle of this version of fedskin; runs are submitted with it."""
        return self.path / f"fedskin-{metadata.version('fedskin')}.fab"

    def settings(self) -> CoordinatorSettings:
        """Read ``coordinator.toml``.

        Raises:
            OperationError: this is not a coordinator's folder, or one of another version.
        """
        path = self.path / "coordinator.toml"
        try:
            values = parse_toml(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise OperationError(
                f"{self.path}: is not a coordinator's folder; make one with  "
                "fedskin coordinator init"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise OperationError(f"{path}: is not a TOML file; restore it from a backup") from None
        return check_settings(values, str(path))

    def create(self, settings: CoordinatorSettings) -> None:
        """Make the folder, its keys and certificates, and the invitation.

        Raises:
            OperationError: the folder is not empty.
        """
        # Imported here: importing cryptography takes a moment, and other commands do not need it.
        from fl_server.coordinator.certificates import make_authority

        if (self.path / "coordinator.toml").exists():
            raise OperationError(
                f"{self.path}: is already a coordinator's folder; its keys are not replaced"
            )
        if self.path.is_dir() and any(self.path.iterdir()):
            raise OperationError(f"{self.path}: holds other files; choose an empty folder")
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        make_authority(self.ca_certificate, self.ca_key)
        self._make_certificate(settings)
        write_secret(self.secret, secrets.token_bytes(32))
        self._write_invitation(settings)
        for folder in (self.runs, self.logs):
            folder.mkdir()
        # Written last, since it distinguishes a coordinator's folder from an incomplete one.
        write_text(self.path / "coordinator.toml", tomli_w.dumps(settings.model_dump()))

    def write_invitation(self) -> None:
        """Write the invitation again: it names the version, and a site refuses another one.

        Raises:
            OperationError: this is not a coordinator's folder.
        """
        self._write_invitation(self.settings())

    def renew(self) -> None:
        """Make a new server certificate, from the same authority.

        Raises:
            OperationError: this is not a coordinator's folder, or its authority has expired.
        """
        self._make_certificate(self.settings())

    def _make_certificate(self, settings: CoordinatorSettings) -> None:
        from fl_server.coordinator.certificates import make_server_certificate

        make_server_certificate(
            settings.host,
            certificate=self.certificate,
            key=self.key,
            ca_certificate=self.ca_certificate,
            ca_key=self.ca_key,
        )

    def _write_invitation(self, settings: CoordinatorSettings) -> None:
        write_text(self.invitation / "ca.crt", self.ca_certificate.read_text(encoding="ascii"))
        invitation = {"address": settings.address, "version": metadata.version("fedskin")}
        write_text(self.invitation / "invitation.toml", tomli_w.dumps(invitation))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from changing the sites or the orders within the ``with`` block."""
        with FileLock(self.path / ".changes.lock"):
            yield


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
