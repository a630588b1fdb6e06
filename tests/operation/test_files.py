"""Files that are whole, and secrets that nobody else may read."""

import os
import stat
from pathlib import Path

import pytest

from operation.errors import OperationError
from operation.files import read_json, write_json, write_secret


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
