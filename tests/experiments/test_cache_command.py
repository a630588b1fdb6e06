"""``fedskin data cache`` lists what is kept, and removes what no run can use."""

import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data_partition.image_store import open_store
from experiments.data_commands import app
from tests.data_partition.test_image_store import table_of, write_images


def run(*arguments: str | Path, answer: str = "") -> Result:
    words = ["cache", *map(str, arguments)]
    return CliRunner().invoke(app, words, input=answer, env={"COLUMNS": "300"})


def store(tmp_path: Path, data: str, side: int) -> Path:
    """Decode five images of a folder; return the store."""
    folder = tmp_path / data
    if not folder.exists():
        write_images(folder)
    opened = open_store(table_of(folder), side=side, cache_dir=tmp_path / "cache")
    return Path(str(opened.images.filename)).parent


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Path]:
    """Stores of two folders, one of them gone since, and features."""
    stores = {name: store(tmp_path, name, side) for name, side in (("here", 8), ("gone", 16))}
    shutil.rmtree(tmp_path / "gone")
    features = tmp_path / "cache" / "features" / "a.safetensors"
    features.parent.mkdir()
    features.write_bytes(bytes(2_500_000))
    features.with_suffix(".lock").touch()  # of who made them; no entry
    looks = tmp_path / "cache" / "looks" / "a.safetensors"
    looks.parent.mkdir()
    looks.write_bytes(bytes(10_000))
    return {**stores, "features": features, "looks": looks}


def left(kept: dict[str, Path]) -> set[str]:
    return {name for name, path in kept.items() if path.exists()}


def test_it_lists_size_use_and_origin(kept: dict[str, Path], tmp_path: Path) -> None:
    long_ago = time.mktime((2020, 5, 4, 12, 0, 0, 0, 0, -1))
    os.utime(kept["here"], (long_ago, long_ago))
    result = run(tmp_path / "cache")
    lines = result.output.splitlines()
    (here,) = [line for line in lines if "5 images of 8 x 8" in line]
    (gone,) = [line for line in lines if "5 images of 16 x 16" in line]
    (features,) = [line for line in lines if "features" in line]
    assert "2020-05-04" in here
    assert f" {tmp_path / 'here'} " in here
    assert "gone" not in here
    assert f" {tmp_path / 'gone'} " in gone
    assert "the folder is gone" in gone
    assert "2.5 MB" in features
    assert "Not needed any more: 1, " in lines[-1]
    assert left(kept) == {"here", "gone", "features", "looks"}


def test_opening_a_store_is_using_it(kept: dict[str, Path], tmp_path: Path) -> None:
    os.utime(kept["here"], (1, 1))
    assert store(tmp_path, "here", 8) == kept["here"]
    assert time.time() - kept["here"].stat().st_mtime < 100


@pytest.mark.parametrize(
    "options, answer, expected",
    [
        ([], "n\n", {"here", "gone", "features", "looks"}),
        ([], "y\n", {"here", "features", "looks"}),
        (["--yes"], "", {"here", "features", "looks"}),
        (["--yes", "--unused-days", "10"], "", {"here", "looks"}),
        (["--yes", "--unused-days", "0"], "", set()),
    ],
)
def test_it_removes_what_is_not_needed_after_a_question(
    kept: dict[str, Path], tmp_path: Path, options: list[str], answer: str, expected: set[str]
) -> None:
    eleven_days_ago = time.time() - 11 * 24 * 3600
    os.utime(kept["features"], (eleven_days_ago, eleven_days_ago))
    result = run(tmp_path / "cache", "--clean", *options, answer=answer)
    assert ("Remove 1 of them" in result.output) == bool(answer)
    assert result.exit_code == (1 if answer == "n\n" else 0)
    assert left(kept) == expected
    assert kept["features"].with_suffix(".lock").exists() == ("features" in expected)
    assert [path.name for path in (tmp_path / "cache" / "images").glob(".*.tmp")] == []


def test_a_store_that_cannot_be_read_is_not_needed(kept: dict[str, Path], tmp_path: Path) -> None:
    (kept["here"] / "images.npy").write_bytes(b"nonsense")
    assert "damaged" in run(tmp_path / "cache").output
    run(tmp_path / "cache", "--clean", "--yes")
    assert left(kept) == {"features", "looks"}


def test_without_a_folder_it_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("--clean").output == f"{tmp_path / 'fedskin'}: nothing is kept\n"
