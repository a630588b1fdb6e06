"""Whole runs for tests: a tiny synthetic data set, a config that trains in seconds, the program."""

import atexit
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from fl_server.federated_config import Resources, prepare_simulated
from fl_server.simulation import simulate
from fl_server.simulation_superlink import LIBRARIES, SuperLink
from operation.fork_server import FORK_SERVER, Forked, fork, prepare, start_fork_server
from training.config import ExperimentConfig
from training.config_file import read_config
from training.run_folder import RunFolder

FEDSKIN = str(Path(sysconfig.get_path("scripts")) / "fedskin")

SECONDS = 500  # after which a run hangs

# The program imports timm for the smaller `tests.support.BACKBONE`, which costs more than
# resnet18's steps. Of the text encoders, which only objective clip looks at, ViT-B/32's text tower
# is the smallest.
TINY = {
    "backbone": "resnet18",
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
    """Run the program to its end, as a fork of a process that has imported its libraries.

    Importing them takes longer than most runs. So a simulation's processes are forks of that one,
    too, like those of a campaign's trials. With further options, of `subprocess.run`, it is a new
    process.
    """
    command = [FEDSKIN, *map(str, arguments)]
    if options:
        how: Any = {"capture_output": True, "text": True, "timeout": SECONDS}
        return subprocess.run(command, cwd=cwd, **how | options)
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        environment = {**os.environ, FORK_SERVER: str(_fork_server())}
        process = _begin(command[1:], cwd, out, err, environment)
        status = process.wait(SECONDS)
        if status is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, SECONDS)
        said = [path.read_text(encoding="utf-8") for path in (out, err)]
    return subprocess.CompletedProcess(command, status, *said)


@contextmanager
def warm_superlink(log: Path) -> Iterator[SuperLink]:
    """A SuperLink for several runs, whose processes are forks like those of `fedskin`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FORK_SERVER, str(_fork_server()))
        with SuperLink(log) as superlink:
            patch.undo()
            yield superlink


def begin(*arguments: object, cwd: Path, output: Path) -> Forked:
    """Begin to run the program like `fedskin`; a simulation has a fork server of its own.

    Args:
        output: what the program says is appended to this file.
    """
    return _begin([str(word) for word in arguments], cwd, output, output, os.environ)


def _begin(
    words: list[str], cwd: Path, out: Path, err: Path, environment: Mapping[str, str]
) -> Forked:
    return fork(
        _fork_server(),
        "tests.program:main",
        [str(err), *words],
        environment=environment,
        folder=cwd,
        output=out,
    )


@lru_cache(maxsize=1)
def _fork_server() -> Path:
    """The socket of the process that `fedskin` forks; it ends with this one."""
    home = Path(tempfile.mkdtemp(prefix="fedskin-tests-", dir="/tmp"))  # a socket's path is short
    process = start_fork_server(home / "socket", os.environ, home / "log")
    prepare(home / "socket", (*LIBRARIES, "experiments.cli"))

    def end() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(home)

    atexit.register(end)
    return home / "socket"


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait, and fail if it never comes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
