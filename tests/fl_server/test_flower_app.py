"""The project as a Flower App: ``flwr run .`` as Flower's users know it."""

import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from operation.processes import TOKEN, ProcessId, end_processes
from tests.runs import TINY, read_json
from training.metrics import METRIC_NAMES

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a Flower user, whose local SuperLink is ended afterwards.

    Flower starts that SuperLink itself and leaves it running; the token finds it again.
    """
    scripts = sysconfig.get_path("scripts")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = f"test-{port}-{time.time_ns()}"
    yield {
        **os.environ,
        TOKEN: token,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(tmp_path / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    end_processes(token)


def flwr_run(
    flower: dict[str, str], data: Path, cache: Path, *options: str, **changes: object
) -> str:
    values = {**TINY, "data-dir": str(data), "cache-dir": str(cache), "rounds": 1, **changes}
    words = []
    for key, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else value
        words.append(f'{key}="{text}"' if isinstance(value, str) else f"{key}={text}")
    command = ["flwr", "run", str(CHECKOUT), "--stream", "--run-config", " ".join(words), *options]
    result = subprocess.run(
        command, env=flower, capture_output=True, text=True, timeout=200, cwd=cache.parent
    )
    return result.stdout + result.stderr


def test_flwr_run_fills_a_run_folder(
    flower: dict[str, str], synthetic_ham: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ("--federation-config", "num-supernodes=3")
    output = flwr_run(flower, synthetic_ham, tmp_path / "cache", *options, **{"run-dir": str(out)})
    assert read_json(out / "manifest.json")["status"] == "completed", output
    assert f"fedskin: the results are in {out}" in output
    metrics = read_json(out / "metrics.json")
    (row,) = (line for line in output.splitlines() if "fedskin: global test set" in line)
    figures = [f"{metrics['global_test'][name]:.2f}" for name in METRIC_NAMES]
    assert row.split()[-len(figures) :] == figures
    (line,) = (line for line in output.splitlines() if "stop it with:  kill " in line)
    superlink = psutil.Process(int(line.rpartition(" ")[2]))
    assert "--simulation" in superlink.cmdline()
    superlink.terminate()
    psutil.wait_procs([superlink], timeout=60)
    assert not superlink.is_running()


def test_too_few_nodes_end_with_one_line_that_says_how_to_set_them(
    flower: dict[str, str], synthetic_ham: Path, tmp_path: Path
) -> None:
    """Flower's default federation has two nodes; the config wants three clients."""
    out = tmp_path / "run"
    output = flwr_run(flower, synthetic_ham, tmp_path / "cache", **{"run-dir": str(out)})
    [line] = [line for line in output.splitlines() if "fedskin: " in line]
    assert "has 2 nodes, but the config has clients = 3" in line
    assert "--federation-config 'num-supernodes=3'" in line
    assert read_json(out / "manifest.json")["status"] == "failed"
    server = ProcessId(**read_json(out / "manifest.json")["server"])
    deadline = time.monotonic() + 30
    while server.alive():  # Flower's own end takes seconds more
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_relative_folders_are_refused(flower: dict[str, str], tmp_path: Path) -> None:
    """Flower runs the app from a copy elsewhere, so a relative path would mean another folder."""
    output = flwr_run(flower, Path("data"), tmp_path / "cache")
    assert "data-dir = 'data': write an absolute path" in output
