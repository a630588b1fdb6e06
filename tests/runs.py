"""Whole runs for tests: a tiny synthetic data set, a config that trains in seconds, the program."""

import json
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fl_server.federated_config import Resources, prepare_simulated
from fl_server.simulation import simulate
from fl_server.simulation_superlink import SuperLink
from tests.support import BACKBONE
from training.config import ExperimentConfig
from training.config_file import read_config
from training.run_folder import RunFolder

FEDSKIN = str(Path(sysconfig.get_path("scripts")) / "fedskin")

# Of the text encoders, which only objective clip looks at, ViT-B/32's text tower is the smallest.
TINY = {
    "backbone": BACKBONE,
    "pretrained": False,
    "text-encoder": "ViT-B/32",
    "image-size": 32,
    "rounds": 3,
    "batch-size": 4,
    "threads-per-client": 1,
    "device": "cpu",
}


def tiny_options(data: Path, cache: Path, **changes: Any) -> list[str]:
    """Return the -c options of a tiny run; ``changes`` name keys with underscores."""
    keys = {key.replace("_", "-"): value for key, value in changes.items()}
    values = {**TINY, "data-dir": data, "cache-dir": cache, **keys}
    words = []
    for key, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ["-c", f"{key}={text}"]
    return words


def tiny_config(data: Path, cache: Path, **changes: Any) -> ExperimentConfig:
    """Return the same as a config."""
    return read_config(None, tiny_options(data, cache, **changes)[1::2])


def run_tiny(
    superlink: SuperLink,
    config: ExperimentConfig,
    out: Path,
    *,
    concurrency: int | None = None,
    gpu_fraction: float = 0.0,
    gpus: int = 0,
    watch: Callable[[RunFolder], None] = lambda folder: None,
) -> dict[str, Any]:
    """Run a config on a SuperLink and return its final figures.

    Args:
        concurrency, gpu_fraction, gpus: a plan instead of the machine's; see `Resources`. Ray
            believes the number of GPUs.
        watch: as in `simulate`.
    """
    folder = RunFolder(out)
    resolved, resources = prepare_simulated(config.replace(run_dir=str(out)))
    if concurrency is not None:
        resources = Resources(concurrency, resources.threads_per_client, gpu_fraction, gpus=gpus)
    folder.create(resolved)
    simulate(resolved, folder, superlink, resources, watch)
    return folder.metrics()


def fedskin(*arguments: object, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [FEDSKIN, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500, **options)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait, and fail if it never comes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
