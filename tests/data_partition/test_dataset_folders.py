"""Class-named folders of any classes."""

from pathlib import Path

import pytest

from data_partition.check import check_folder
from data_partition.dataset import Reading
from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from data_partition.image_table import ImageTable
from data_partition.recognition import recognise
from tests.data_partition.layouts import picture, write, write_images, write_zip
from tests.data_partition.own_data import CLASSES, ROWS, own_folders

FOLDERS = find_dataset("folders")


def load(folder: Path) -> ImageTable:
    return FOLDERS.load_training(folder, Reading())


def test_what_is_read(tmp_path: Path) -> None:
    table = load(own_folders(tmp_path))
    assert table.classes == CLASSES
    expected = sorted(f"train/{row[1]}/{row[0]}" for row in ROWS if row[-1] == "train")
    assert table.rows["image_id"].tolist() == expected
    assert "split" not in table.rows
    assert table.rows["lesion_id"].isna().all()


@pytest.mark.parametrize("above", ["", "release/", "images.zip", "release/all_images/"])
def test_folders_without_splits(tmp_path: Path, above: str) -> None:
    """The classes are the first folders that differ; below them may be further folders."""
    names = ["mole/1.png", "mole/2.png", "wart/a/1.png", "wart/b/1.png"]
    if above.endswith(".zip"):
        write_zip(tmp_path / above, {name: picture(name) for name in names})
    else:
        for name in names:
            write(tmp_path / f"{above}{name}", picture(name))
    table = load(tmp_path)
    assert table.classes == ("mole", "wart")
    assert table.rows["label"].tolist() == ["mole", "mole", "wart", "wart"]
    # Two folders of images may be anything, so that this must be said.
    said = "if the folders mole and wart are classes, say so with -c dataset=folders, or after "
    with pytest.raises(DataError, match=f"{said}fedskin data check with --dataset folders"):
        recognise(tmp_path)
    assert check_folder(tmp_path, dataset=FOLDERS).training.images == 4


def test_a_validation_folder(tmp_path: Path) -> None:
    for split, names in {"train_dir": "abcd", "val_dir": "ef"}.items():
        for name in names:
            write_images(tmp_path / split / ("mole" if name in "abe" else "wart"), [name])
    table = load(tmp_path)
    assert recognise(tmp_path) is FOLDERS
    assert table.rows["split"].value_counts().to_dict() == {"train": 4, "validation": 2}
    assert FOLDERS.load_test is not None
    assert FOLDERS.load_test(tmp_path, None) is None


def test_what_is_outside_the_classes_is_named(tmp_path: Path) -> None:
    own_folders(tmp_path)
    write_images(tmp_path, ["logo"])
    write_images(tmp_path / "train", ["overview"])
    write(tmp_path / "train" / CLASSES[0] / "scan.dcm", b"x")
    table = load(tmp_path)
    assert table.set_aside["image outside the folders of the classes"] == (
        "logo.jpg",
        "train/overview.jpg",
    )
    assert any(".dcm" in reason for reason in table.set_aside)


@pytest.mark.parametrize(
    "names, complaint",
    [
        (["1", "2"], "no image in .* is in a folder named after a class, as in train/nevus"),
        (["mole/1", "mole/2"], 'only the class "mole"; at least two'),
        (["train/mole/1", "train/mole/2"], 'only the class "mole"; at least two'),
        (["mole/1", "wart/1", "wart/2"], r'single image of class "mole", mole/1\.jpg'),
        (["mole/1", "wart/1", "Wart/2"], 'classes "Wart" and "wart"; write both'),
        (["mole/1", "mole/2", "[b]/1"], r'folder of \[b\]/1\.jpg has the label "\[b\]"'),
        (["mole/1", "label/2"], "is a column of our tables"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        write(tmp_path / f"{name}.jpg", picture(name))
    with pytest.raises(DataError, match=complaint):
        load(tmp_path)


def test_a_test_folder_of_its_own(tmp_path: Path) -> None:
    """Files of one name in both folders are not the same image."""
    data, test_dir = own_folders(tmp_path / "data"), tmp_path / "unseen"
    for label in CLASSES:
        write(test_dir / label / "1.jpg", picture(f"unseen {label}"))
        write(data / "train" / label / "1.jpg", picture(f"seen {label}"))
    report = check_folder(data, test_dir)
    assert report.test is not None
    assert report.test.images == 3
    assert report.overlap is not None
    assert not report.overlap.matches
    write(test_dir / "another" / "1.jpg", picture("another"))
    with pytest.raises(DataError, match='has the class "another", which training does not have'):
        check_folder(data, test_dir)


def test_an_equal_image_in_a_test_folder_is_found(tmp_path: Path) -> None:
    data, test_dir = own_folders(tmp_path / "data"), tmp_path / "unseen"
    first = min((data / "train" / CLASSES[0]).iterdir())
    write(test_dir / CLASSES[0] / "copy.jpg", first.read_bytes())
    report = check_folder(data, test_dir)
    assert report.overlap is not None
    assert [match.kind for match in report.overlap.matches.values()] == ["same file"]
