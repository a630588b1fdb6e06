"""Joining a Ray cluster: what is refused in one line."""

import platform
from importlib import metadata
from pathlib import Path

import pytest

from fl_server.ray_cluster import CODE, PACKAGES, difference, joined, looking
from training.errors import ConfigError


@pytest.mark.parametrize(
    "address, line",
    [
        ("127.0.0.1:1", r"--ray-address 127\.0\.0\.1:1: no Ray cluster answers \(.*refused\); .*"),
        ("here", "--ray-address here: write it as HOST:PORT, or auto"),
        ("here:port", "--ray-address here:port: write it as HOST:PORT, or auto"),
        ("h" * 64 + ":6379", "--ray-address h{64}:6379: no Ray cluster answers .*"),  # for no DNS
        ("here:65536", "--ray-address here:65536: write it as HOST:PORT, or auto"),
    ],
)
def test_a_wrong_address_is_one_line(tmp_path: Path, address: str, line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}$"), joined(address, tmp_path):
        pass
    assert not [*tmp_path.iterdir()]


def test_a_machine_tells_its_versions_and_its_code(tmp_path: Path) -> None:
    versions, sees = looking(PACKAGES, CODE, str(tmp_path))()
    assert sees
    assert versions.keys() == {"Python", *PACKAGES}
    assert versions["Python"] == platform.python_version()
    assert versions["torch"] == metadata.version("torch")
    version, code = versions["fedskin"].split(" ", maxsplit=1)
    assert version == metadata.version("fedskin")

    less, sees = looking(PACKAGES, CODE[1:], str(tmp_path / "nothing"))()
    assert not sees
    assert less["fedskin"].split(" ", maxsplit=1) != [version, code]
    assert looking(["fedskin", "no-such-package"], CODE, "")()[0]["no-such-package"] == "(none)"


def test_what_differs_is_said_with_the_machines_name() -> None:
    ours = {"Python": "3.11.2", "torch": "2.9.1", "ray": "2.55.1"}
    theirs = {"Python": "3.11.9", "torch": "2.9.1", "ray": "(none)"}
    assert difference("node-b (10.0.0.2)", ours, ours) == []
    assert difference("node-b (10.0.0.2)", theirs, ours) == [
        "node-b (10.0.0.2) has Python 3.11.9, not 3.11.2 and ray (none), not 2.55.1"
    ]
