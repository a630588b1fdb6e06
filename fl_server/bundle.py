"""The Flower App as a folder, written from the packages that are running.

`flwr run` needs the app's files and a pyproject.toml on disk, and an installed package has no
pyproject.toml. So the folder is generated, with the same content from a checkout and from an
install.
"""

from importlib import metadata, resources
from pathlib import Path

import tomli_w

from training.config import DEFAULTS

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
    """Write the app's packages and its pyproject.toml into a new folder."""
    for package in PACKAGES:
        target = folder / package
        target.mkdir(parents=True)
        for source in resources.files(package.replace("/", ".")).iterdir():
            if source.name.endswith(".py"):
                (target / source.name).write_bytes(source.read_bytes())
    (folder / "pyproject.toml").write_text(tomli_w.dumps(app_settings()), encoding="utf-8")


def app_settings() -> dict[str, object]:
    """Return the content of the app's pyproject.toml that Flower reads."""
    about = metadata.metadata("fedskin")
    return {
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
                    "fab-include": [f"{package}/*.py" for package in PACKAGES],
                    "components": {
                        "serverapp": "fl_server.server_app:app",
                        "clientapp": "fl_client.client_app:app",
                    },
                    "config": DEFAULTS,
                }
            }
        },
    }
