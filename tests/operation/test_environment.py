"""The environment of a run's processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from operation.environment import (
    SLEEPING_THREADS,
    flower_environment,
    free_port,
    let_threads_sleep,
    past_proxies,
    script,
)
from operation.processes import TOKEN


def test_flowers_processes_keep_to_themselves(tmp_path: Path) -> None:
    environment = flower_environment(tmp_path, "a token")
    assert environment[TOKEN] == "a token"
    assert environment["FLWR_HOME"] == str(tmp_path)
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    scripts = environment["PATH"].split(":")[0]
    assert script("fedskin") == f"{scripts}/fedskin"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_a_proxy_is_for_the_way_out_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    assert set(past_proxies().values()) == {"127.0.0.1,localhost"}
    monkeypatch.setenv(name, ".hospital.example")
    assert set(past_proxies().values()) == {".hospital.example,127.0.0.1,localhost"}


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listening:
        assert listening.getsockname() == ("127.0.0.1", port)


def test_threads_sleep_while_they_wait_unless_a_person_has_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SLEEPING_THREADS.items():
        monkeypatch.delenv(name, raising=False)
        assert flower_environment(tmp_path, "a token")[name] == value
        let_threads_sleep()
        assert os.environ[name] == value
        monkeypatch.setenv(name, "another")
        let_threads_sleep()
        assert os.environ[name] == flower_environment(tmp_path, "a token")[name] == "another"


# The commands that train, in this process or in another.
STARTED = """
import json, os, sys
import {module}
{call}
print(json.dumps([os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules]))
"""


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("experiments.command_runner", "experiments.command_runner.run_command_line(lambda: None)"),
        ("fl_client.client_app", ""),
        ("fl_server.server_app", ""),
    ],
)
def test_they_are_told_before_torch_is_loaded(module: str, call: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in SLEEPING_THREADS}
    said = subprocess.run(
        [sys.executable, "-c", STARTED.format(module=module, call=call)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(said) == ["PASSIVE", False]


@pytest.mark.slow
def test_the_weights_do_not_depend_on_how_threads_wait() -> None:
    code = "from benchmarks.waiting_threads import train; train(2, seconds=0)"
    weights = []
    for policy in ("ACTIVE", "PASSIVE"):
        answer = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_WAIT_POLICY": policy},
            capture_output=True,
            text=True,
            check=True,
        )
        weights.append(json.loads(answer.stdout.splitlines()[-1])["weights"])
    assert weights[0] == weights[1] != ""
