"""Files of another kind than a command wants: one line, exit status 2, and no traceback."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from experiments.cli import app
from experiments.command_runner import run_command_line
from fl_server.coordinator.coordinator_folder import CoordinatorFolder, CoordinatorSettings
from tests.fl_client.site.sites import make_site
from tests.support import make_config
from training.run_folder import RunFolder

DEEP = "[" * 50_000 + "]" * 50_000
CONTENTS = {
    "empty": b"",
    "binary": bytes(range(256)) * 20,
    "deep TOML": f"a = {DEEP}".encode(),
    "deep JSON": DEEP.encode(),
    "other types": b'name = 1\naddress = [1]\nversion = 3\nhost = 3\nport = "x"\nobjectives = 3\n',
    "JSON": b'{"a": 1, "sites": 3, "process": []}',
    "safetensors": (2**63).to_bytes(8, "little") + b"x" * 100,
}
# What a person hands to a command.
HANDED = [
    ["predict", "FILE", "image.jpg"],
    ["simulate", "FILE", "--out", "out"],
    ["clip", "FILE", "--out", "out"],
    ["campaign", "plan", "FILE"],
    ["text-features", "import", "FILE"],
    ["report", "FILE"],
    ["data", "check", "FILE"],
    ["site", "approve", "site", "FILE", "--yes"],
    ["site", "init", "new", "--name", "n", "--invitation", "FILE", "--data", "."],
    ["coordinator", "admit", "coordinator", "FILE", "--name", "n"],
]
# What lies in the folders that commands work on, and a command that reads it.
KEPT = {
    "site/site.toml": ["site", "status", "site"],
    "site/policy.toml": ["site", "status", "site"],
    "site/serving.json": ["site", "status", "site"],
    "site/ca.crt": ["site", "status", "site"],
    "site/approved/approved.json": ["site", "approved", "site"],
    "invitation/invitation.toml": [
        *("site", "init", "new", "--name", "n", "--invitation", "invitation", "--data", "."),
    ],
    "coordinator/coordinator.toml": ["coordinator", "list", "coordinator"],
    "coordinator/sites.json": ["coordinator", "list", "coordinator"],
    "coordinator/runs/0001.json": ["coordinator", "list", "coordinator"],
    "coordinator/serving.json": ["coordinator", "list", "coordinator"],
    "coordinator/ca.key": ["coordinator", "renew", "coordinator"],
    "run/config.toml": ["simulate", "--resume", "--out", "run"],
    "run/manifest.json": ["predict", "run", "image.jpg"],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a site, a coordinator and a run, which the commands work in."""
    before = os.umask(0o022)
    make_site(tmp_path)
    CoordinatorFolder(tmp_path / "coordinator").create(
        CoordinatorSettings(host="h", port=1, bind="127.0.0.1")
    )
    RunFolder(tmp_path / "run").create(make_config())
    (tmp_path / "image.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    os.umask(before)


def complaint(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(sys, "argv", ["fedskin", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_command_line(app)
    said = capsys.readouterr().err
    assert ended.value.code == 2, (arguments, said)
    assert said.startswith("fedskin: "), (arguments, said)
    assert all(line.startswith("fedskin: ") for line in said.splitlines()), (arguments, said)
    return said


@pytest.mark.parametrize("content", CONTENTS)
def test_a_wrong_file_is_told_in_a_line(
    content: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (place / "file").write_bytes(CONTENTS[content])
    for arguments in HANDED:
        if content == "empty" and arguments[0] in ("simulate", "clip"):
            continue  # an empty config is one: all keys have their defaults
        words = ["file" if word == "FILE" else word for word in arguments]
        complaint(words, monkeypatch, capsys)
    for name, arguments in KEPT.items():
        if content == "empty" and name in ("site/policy.toml", "run/config.toml"):
            continue  # likewise
        path = place / name
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONTENTS[content])
        said = complaint(arguments, monkeypatch, capsys)
        assert path.name in said or name.startswith("run/")
        path.unlink()
        if before is not None:
            path.write_bytes(before)


@pytest.mark.parametrize(
    "changed", [{"classes": "3"}, {"classes": DEEP}, {"config": DEEP}, {"round": "x"}]
)
def test_a_model_file_whose_entries_are_of_other_types(
    changed: dict[str, str],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    about = {"config": "", "classes": "[]", "run": "0", "round": "1", "synthetic": "false"}
    save_file({"a": np.zeros(1)}, place / "m.safetensors", {**about, **changed})
    said = complaint(["predict", "m.safetensors", "image.jpg"], monkeypatch, capsys)
    assert "m.safetensors: is not a model file" in said
