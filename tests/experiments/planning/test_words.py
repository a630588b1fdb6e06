"""Times and sizes in words."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.planning.words import room_lines


@pytest.mark.parametrize("needed, short", [(4, ""), (7, "TOO LITTLE, 14.0 GB are needed: ")])
def test_folders_on_one_disk_need_their_room_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: int, short: str
) -> None:
    """Neither folder is there yet, and of 10 GB each alone would leave some."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 10**9))
    folders = [tmp_path / "cache" / "deeper", tmp_path / "run"]
    found = list(room_lines(dict.fromkeys(folders, needed * 10**9)))
    assert found == [f"{short}10.0 GB are free at {folder}" for folder in folders]
