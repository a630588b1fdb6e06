"""Folder names, dangling links, and placeholder files of git."""

import os
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from data_partition.dataset_ham10000 import load_test, load_training
from data_partition.errors import DataError
from data_partition.image_files import FoundFile, find_files
from data_partition.image_store import open_store
from tests.data_partition import layouts
from tests.data_partition.layouts import IMAGES, write

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
LFS = "git-LFS pointer instead of the file; fetch it with  git lfs pull"


@pytest.mark.parametrize(
    "folder, role",
    [
        ("train", "training"),
        ("Train_Dir", "training"),
        ("HAM10000_train", "training"),
        ("trainset", "training"),
        ("MICCAI_BraTS_2019_Data_Training", "training"),
        ("ISIC_2019_Training_Input", "training"),
        ("HAM10000_images_part_1", "training"),
        ("train.zip", "training"),
        ("VAL", "validation"),
        ("val_dir", "validation"),
        ("valid-images", "validation"),
        ("Validation Set", "validation"),
        ("test_images", "test"),
        ("test 2", "test"),
        ("ISIC2018_Task3_Test_Input", "test"),
        ("ISIC2018_Task3_Validation_Input", "challenge validation"),
        ("train_test_split", None),
        ("Hospital Val d'Hebron", None),
        ("latest", None),
        ("value", None),
        ("contest", None),
        ("images", None),
    ],
)
def test_what_a_folder_is_for(folder: str, role: str | None) -> None:
    assert FoundFile("/x", "", ("data", folder, "mel", "1.jpg"), -1).role == role


def test_a_file_of_that_name_is_not_a_folder() -> None:
    assert FoundFile("/x", "", ("data", "images", "test_1.jpg"), -1).role is None


@pytest.mark.parametrize("name", [b"we\rird.png", b"caf\xe9.png", b"a\x1b[2J.png"])
def test_a_name_that_no_table_can_hold_is_refused(tmp_path: Path, name: bytes) -> None:
    """Read back from the store's table, the rows would no longer be those of the images."""
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match=r"^[ -~]* is not UTF-8: '[ -~]*'; rename it$"):
        find_files(tmp_path)


def test_a_dangling_link_sets_one_image_aside(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    link = tmp_path / "HAM10000_images_part_1" / "ISIC_0000003.jpg"
    link.unlink()
    link.symlink_to(tmp_path / "not mounted" / "ISIC_0000003.jpg")
    (tmp_path / "HAM10000_images_part_3").symlink_to(tmp_path / "nowhere")
    (tmp_path / "more.zip").symlink_to(tmp_path / "nowhere.zip")
    table = load_training(tmp_path)
    assert table.rows["image_id"].tolist() == sorted(set(IMAGES) - {"ISIC_0000003"})
    assert table.set_aside == {
        "row without an image": ("ISIC_0000003",),
        "link to a file that is not there": (
            "HAM10000_images_part_1/ISIC_0000003.jpg",
            "HAM10000_images_part_3",
            "more.zip",
        ),
    }
    assert len(open_store(table, side=8, cache_dir=tmp_path / "cache").images) == 7


def test_a_dangling_link_beside_a_test_set(tmp_path: Path) -> None:
    layouts.challenge_test(tmp_path)
    (tmp_path / "ISIC2018_Task3_Test_Input" / "table").symlink_to(tmp_path / "nowhere")
    table = load_test(tmp_path, tmp_path)
    assert table is not None
    assert len(table.rows) == 3


def test_pointers_in_the_place_of_images_are_called_so(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    for number in (1, 2):
        write(tmp_path / "HAM10000_images_part_1" / f"ISIC_000000{number}.jpg", POINTER)
    store = open_store(load_training(tmp_path), side=8, cache_dir=tmp_path / "cache")
    assert store.set_aside == {LFS: ("ISIC_0000001", "ISIC_0000002")}
    for image_id in IMAGES:
        part = 1 if image_id < "ISIC_0000005" else 2
        write(tmp_path / f"HAM10000_images_part_{part}" / f"{image_id}.jpg", POINTER)
    with pytest.raises(DataError, match=f"none of the 8 images .*{LFS}: ISIC_0000001"):
        open_store(load_training(tmp_path), side=8, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("name", ["HAM10000_metadata.csv", "HAM10000_images_part_1.zip"])
def test_pointers_in_the_place_of_tables_and_archives(tmp_path: Path, name: str) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / name, POINTER)
    with pytest.raises(DataError, match=f"{name}: {LFS}$"):
        load_training(tmp_path)


def test_an_archive_that_was_replaced_is_listed_anew(tmp_path: Path) -> None:
    for names in (["a.jpg"], ["a.jpg", ".hidden.jpg", "part/b.jpg"]):
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        shown = [name for name in names if not name.startswith(".")]
        for _ in range(2):  # the second time as it was kept
            assert [file.member for file in find_files(tmp_path)] == shown


@pytest.mark.parametrize("name", ["a.JPG", ".a", "a.", "a..", ".a.b", "x..y", "..a", "...", "a"])
def test_the_parts_of_a_name_are_those_of_pathlib(name: str) -> None:
    """Images of one stem are one image, and a mask is found by its image's stem."""
    found, path = FoundFile("/x", "", ("data", name), -1), PurePosixPath("data", name)
    assert (found.stem, found.suffix) == (path.stem, path.suffix.lower())
