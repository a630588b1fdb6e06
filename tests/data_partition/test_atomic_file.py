from pathlib import Path

import pytest

from data_partition.atomic_file import replacing


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
