"""What a run was computed with: versions, machine, and the code's commit."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("fedskin", "flwr", "ray", "torch", "torchvision", "timm", "open_clip_torch"),
    *("numpy", "pandas", "safetensors"),
)


def environment() -> dict[str, Any]:
    """Describe the environment of a run: versions, machine, and the code's git commit, if any."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a site runs the bundle without installing it
            continue
    return {
        "versions": versions,
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
        },
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of a checkout, with "-dirty" if files were changed; None elsewhere."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        # A virtual environment may be inside another checkout: check that git tracks this file.
        subprocess.run(
            [*git, "ls-files", "--error-unmatch", here.name],
            capture_output=True,
            check=True,
            timeout=5,
        )
        result = subprocess.run(
            [*git, *describe], capture_output=True, check=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
