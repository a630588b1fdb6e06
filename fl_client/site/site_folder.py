"""A site's folder: the places of its files, and the settings in site.toml."""

import re
from pathlib import Path
from typing import Any

import tomli_w

from fl_client.site.invitation import Invitation
from fl_client.site.keys import make_key_pair, make_secret
from fl_client.site.policy import Policy, write_policy
from fl_client.site.settings_file import TomlTable, read_settings
from operation.errors import OperationError
from operation.files import write_text

_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


class SiteSettings(TomlTable):
    """site.toml."""

    name: str
    address: str  # ``HOST:PORT`` of the coordinator
    data_dir: str  # the images, absolute
    weights_dir: str = ""  # weight files, absolute, or empty
    # Index of this site's shard of a common release, from 0; None if the site has the whole folder.
    partition_id: int | None = None
    num_partitions: int | None = None  # number of shards of that release; None likewise


class SiteFolder:
    """The paths of a site's folder.

    Attributes:
        contact: a file that is touched whenever the coordinator has answered this SuperNode.
        state: the state of the connection in one line, from the process that serves.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path / "site.key"
        self.ca = path / "ca.crt"
        self.secret = path / "secret"
        self.policy = path / "policy.toml"
        self.approved = path / "approved"
        self.cache = path / "cache"
        self.runs = path / "runs"
        self.records = path / "records.jsonl"
        self.paused = path / "paused"
        self.contact = path / "contact"
        self.state = path / "state"
        self.logs = path / "logs"

    def create(self) -> None:
        """Make the folder, readable by its owner only."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def settings(self) -> SiteSettings:
        """Read site.toml.

        Raises:
            OperationError: this is not a site's folder, or the file is damaged.
        """
        if not (self.path / "site.toml").is_file():
            raise OperationError(
                f"{self.path}: is not a site's folder; make one with  fedskin site init"
            )
        return read_settings(SiteSettings, self.path / "site.toml")

    def public_key(self) -> Path:
        """Return the path of the file for the coordinator."""
        return self.path / f"{self.settings().name}.pub"

    def node_config(self) -> dict[str, Any]:
        """Return the app's settings for this site; its only source of paths."""
        settings = self.settings()
        told: dict[str, Any] = {
            "site": settings.name,
            "folder": str(self.path),
            "policy": str(self.policy),
            "data-dir": settings.data_dir,
            "cache-dir": str(self.cache),
            "weights-dir": settings.weights_dir,
        }
        if settings.partition_id is not None and settings.num_partitions is not None:
            told["partition-id"] = settings.partition_id
            told["num-partitions"] = settings.num_partitions
        return told


def check_new(folder: SiteFolder, name: str) -> None:
    """Check that a site's folder can be made.

    Raises:
        OperationError: there is one already, or the name is not allowed.
    """
    if (folder.path / "site.toml").exists():
        raise OperationError(
            f"{folder.path}: is the folder of site {folder.settings().name!r} already; choose "
            "another folder"
        )
    if not _NAME.fullmatch(name):
        raise OperationError(
            f"--name {name}: write 1 to 63 letters, digits, hyphens and underscores"
        )


def fill_folder(folder: SiteFolder, settings: SiteSettings, invitation: Invitation) -> None:
    """Make keys and files; site.toml is written last, so that an interrupted attempt is not a site.

    Raises:
        OperationError: a key of an interrupted attempt is damaged.
    """
    folder.logs.mkdir(exist_ok=True)
    write_text(folder.ca, invitation.ca.decode("ascii"))
    make_key_pair(folder.key, folder.path / f"{settings.name}.pub", settings.name)
    make_secret(folder.secret)
    write_policy(folder.policy, Policy())
    values = settings.model_dump(by_alias=True, exclude_none=True)
    write_text(folder.path / "site.toml", tomli_w.dumps(values))
