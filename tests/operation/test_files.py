"""Files that are whole, and secrets that nobody else may read."""

import os
import stat
from pathlib import Path

import pytest

from operation.errors import OperationError
from operation.files import read_json, replacing, write_json, write_secret


def test_json_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    assert read_json(path) is None
    write_json(path, {"name": "Zürich", "n": 1})
    assert read_json(path) == {"name": "Zürich", "n": 1}


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
