"""Atomic writes of files and folders, and secrets that only their owner may read."""

import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from operation.errors import OperationError
from operation.files import (
    check_writable,
    creating_folder,
    keep_private,
    naming,
    read_json,
    read_record,
    remove_leftovers,
    replacing,
    write_json,
    write_secret,
)


def test_json_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    assert read_json(path) is None
    write_json(path, {"name": "Zürich", "n": 1})
    assert read_json(path) == {"name": "Zürich", "n": 1}


def test_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder" / "file.csv")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OperationError, match="is a folder; name a file"):
        check_writable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match=r"a\.csv: .*file cannot be written to"):
        check_writable(tmp_path / "file" / "a.csv")


@pytest.mark.parametrize("content", [b"[1]", b"{", b"", b"\xff"])
def test_other_content_is_damage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(OperationError, match=r"file.json: is damaged"):
        read_json(tmp_path / "file.json")


def test_a_secret_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o644)
    before = os.umask(0)
    try:
        write_secret(path, b"\x00secret")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"\x00secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "plan.csv"
    with replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with replacing(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_named_also_where_no_file_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, naming(tmp_path), Path("/dev/full").open("w") as full:
        full.write("more than fits")
    assert raised.value.filename == str(tmp_path)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    with pytest.raises(OSError) as raised, replacing(path), Path("/dev/full").open("w") as full:
        full.write("more than fits")
    assert raised.value.filename == str(path)


def test_a_failure_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("asked, file, folder", [(None, 0o600, 0o700), ("027", 0o640, 0o750)])
def test_what_is_written_is_private_unless_asked_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, file: int, folder: int
) -> None:
    monkeypatch.delenv("FEDSKIN_UMASK", raising=False)
    if asked:
        monkeypatch.setenv("FEDSKIN_UMASK", asked)
    before = os.umask(0o022)
    try:
        keep_private()
        write_json(tmp_path / "run" / "manifest.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == folder
    assert stat.S_IMODE((tmp_path / "run" / "manifest.json").stat().st_mode) == file


@pytest.mark.parametrize("said", ["", "private", "0888", "-077", "7"])
def test_a_mask_that_is_none(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("FEDSKIN_UMASK", said)
    with pytest.raises(OperationError, match=r"FEDSKIN_UMASK = .*: write octal digits"):
        keep_private()


@dataclass
class Thing:
    name: str
    parts: list[int]


@pytest.mark.parametrize(
    "values",
    [
        *(None, 3, [], {}, {"name": "a"}, {"name": 1, "parts": []}, {"name": "a", "parts": ["x"]}),
        {"name": "a", "parts": [], "more": 1},
    ],
)
def test_a_record_whose_fields_are_others(values: object, tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"thing\.json: is damaged"):
        read_record(Thing, values, tmp_path / "thing.json")


def test_a_record(tmp_path: Path) -> None:
    assert read_record(Thing, {"name": "a", "parts": [1]}, tmp_path) == Thing("a", [1])


def test_a_folder_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    (tmp_path / "runs" / ".one.4711.tmp").mkdir(parents=True)  # of a killed process
    with creating_folder(path) as building:
        assert list(path.parent.iterdir()) == [building]
        (building / "file").write_text("text")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        *("runs", "runs/one", "runs/one/file")
    ]


def test_other_folders_that_are_being_made_are_left_alone(tmp_path: Path) -> None:
    theirs = [tmp_path / name for name in (".one.two.4711.tmp", ".[1].4711.tmp", ".one.tmp")]
    for path in theirs:
        path.mkdir()
    with creating_folder(tmp_path / "one"):
        pass
    assert set(tmp_path.iterdir()) == {tmp_path / "one", *theirs}
    with creating_folder(tmp_path / "[1]"):
        pass
    assert not theirs[1].exists()


KILLED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from operation.files import replacing

# The system kills a process that writes more than this to a file.
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with replacing(Path(sys.argv[1])) as temporary:
    if sys.argv[2] == "arrays":
        save_file({"a": np.zeros(10_000)}, temporary)
    else:
        temporary.write_bytes(bytes(10_000))
"""


@pytest.mark.parametrize("what", ["arrays", "text"])
def test_what_a_killed_process_left_half_written_is_removed(what: str, tmp_path: Path) -> None:
    path = tmp_path / "inside" / "file"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), what], check=False)
    assert ended.returncode == -signal.SIGXFSZ
    assert [leftover.name.startswith(".") for leftover in path.parent.iterdir()] == [True]
    (tmp_path / ".lock").touch()
    write_json(path, {})
    remove_leftovers(tmp_path)
    assert {each.name for each in tmp_path.rglob("*")} == {".lock", "inside", "file"}
    remove_leftovers(tmp_path / "none")


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with creating_folder(tmp_path / "one") as building:
            (building / "file").write_text("text")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("old")
    with pytest.raises(OSError, match="not empty"), creating_folder(tmp_path / "one") as building:
        (building / "file").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert (tmp_path / "one" / "file").read_text() == "old"
