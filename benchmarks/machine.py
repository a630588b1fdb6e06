"""The machine and versions of a measurement."""

import os
import platform
import re
from typing import Any

import joblib
import psutil

from training.device import processor_name
from training.run_environment import environment

VERSIONS = ("python", "torch", "torchvision", "flwr", "ray", "numpy")


def describe() -> dict[str, Any]:
    """Return the machine, its current load, the versions and the git commit; never the machine's
    name.
    """
    known = environment()
    return {
        "machine": {
            "cpu": processor_name(),
            "cores": joblib.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {name: known["versions"].get(name) for name in VERSIONS},
        "git_commit": known["git_commit"],
    }


def short_name() -> str:
    """Return a name for this kind of machine that is usable in a file name."""
    words = re.findall(r"[a-z0-9]+", processor_name().lower())
    kept = [word for word in words if word not in ("r", "tm", "cpu", "processor", "with")]
    return "-".join([*kept[:4], f"{joblib.cpu_count()}cores"])
