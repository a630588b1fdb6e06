"""The Flower App as a folder, written from the packages that are running.

`flwr run` needs the app's files and a pyproject.toml on disk, and an installed package has no
pyproject.toml. So the folder is generated, with the same content from a checkout and from an
install.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import tomli_w

from training.config import DEFAULTS, Scalar

PACKAGES = (
    "data_partition",
    "models",
    "strategies",
    "strategies/methods",
    "training",
    "operation",
    "fl_server",
    "fl_client",
)


def write_app(folder: Path) -> None:
    """Write the app's packages and its pyproject.toml into a new folder, without plug-ins."""
    for package in PACKAGES:
        target = folder / package
        target.mkdir(parents=True)
        for source in resources.files(package.replace("/", ".")).iterdir():
            if source.name.endswith(".py"):
                (target / source.name).write_bytes(source.read_bytes())
    write_settings(folder)


def write_settings(
    folder: Path,
    config: Mapping[str, Scalar] = DEFAULTS,
    ours: Mapping[str, Any] | None = None,
    files: Iterable[str] = (),
    packages: Sequence[str] = PACKAGES,
) -> None:
    """Write the app's pyproject.toml, for Flower.

    Args:
        config: every key with its default. Flower lets a run set these keys and no others.
        ours: the table ``tool.fedskin``, with the only plug-ins that the app then knows; None: it
            knows those that are installed where it runs.
        packages: of the app, in its folder; none for an app whose processes have them already.
    """
    about = metadata.metadata("fedskin")
    include = [*(f"{package}/*.py" for package in packages), *files]
    settings = {
        "project": {
            "name": about["Name"],
            "version": about["Version"],
            "description": about["Summary"],
            "license": "Apache-2.0",
            "dependencies": [],
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "fedskin",
                    **({"fab-include": include} if include else {}),
                    "components": {
                        "serverapp": "fl_server.server_app:app",
                        "clientapp": "fl_client.client_app:app",
                    },
                    "config": config,
                }
            },
            **({} if ours is None else {"fedskin": ours}),
        },
    }
    (folder / "pyproject.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
