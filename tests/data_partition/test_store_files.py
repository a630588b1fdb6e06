"""A store knows the files that it was made of, and whether they have changed since."""

import json
import os
import shutil
from pathlib import Path

import pytest

from data_partition.image_store import open_store
from data_partition.store_files import made_of
from tests.data_partition.test_image_store import table_of, write_images


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def store(data: Path, tmp_path: Path) -> Path:
    opened = open_store(table_of(data), side=8, cache_dir=tmp_path / "cache")
    return Path(str(opened.images.filename)).parent


def test_a_store_of_files_as_they_were_can_be_used(data: Path, store: Path) -> None:
    assert made_of(store) == (str(data), "")


@pytest.mark.parametrize("change", ["touched", "removed"])
def test_a_store_of_other_files_can_not(data: Path, store: Path, change: str) -> None:
    if change == "touched":
        os.utime(data / "c.jpg", (0, 0))
    else:
        (data / "c.jpg").unlink()
    assert made_of(store) == (str(data), "its images have changed")


def test_nor_can_one_whose_folder_is_gone(data: Path, store: Path) -> None:
    shutil.rmtree(data)
    assert made_of(store) == (str(data), "the folder is gone")


@pytest.mark.parametrize("content", [None, "", "[]", "{", json.dumps([["a", 1]])])
def test_of_a_store_that_does_not_say_it_nothing_is_known(store: Path, content: str | None) -> None:
    (store / "files.json").unlink()
    if content is not None:
        (store / "files.json").write_text(content)
    assert made_of(store) == ("", "")


def test_a_store_of_several_folders_is_made_of_what_holds_them(data: Path, tmp_path: Path) -> None:
    table = table_of(data)
    write_images(tmp_path / "more")
    rows = table.rows.copy()
    rows.loc[0, "path"] = str(tmp_path / "more" / "a.jpg")
    table = type(table)(rows, table.classes, table.layout, {})
    opened = open_store(table, side=8, cache_dir=tmp_path / "cache")
    assert made_of(Path(str(opened.images.filename)).parent) == (str(tmp_path), "")
