"""What the processes of a run find around them."""

import socket
from pathlib import Path

import pytest

from operation.environment import flower_environment, free_port, past_proxies, script
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
