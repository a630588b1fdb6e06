"""A table of labels beside or above the images, and each way in which it can be wrong."""

from pathlib import Path

import pytest

from data_partition.check import check_folder
from data_partition.dataset import Reading
from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from data_partition.image_table import ImageTable
from data_partition.own_images import MAX_CLASSES, MAX_LABEL
from data_partition.own_label_table import MAX_CELL
from data_partition.recognition import recognise
from strategies import field_kinds
from tests.data_partition.layouts import picture, write, write_zip
from tests.data_partition.own_data import CLASSES, ROWS, as_csv, own_table

TABLE = find_dataset("table")
FOUR = [("a.jpg", "x"), ("b.jpg", "x"), ("c.jpg", "y"), ("d.jpg", "y")]


def load(folder: Path) -> ImageTable:
    return TABLE.load_training(folder, Reading())


def written(folder: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...]) -> Path:
    """Four images and a table."""
    for name, _ in FOUR:
        write(folder / "pictures" / name, picture(name))
    write(folder / "labels.csv", as_csv(rows, columns))
    return folder


def test_what_is_read(tmp_path: Path) -> None:
    """Of 36 images 12 are for testing; six lesions of a class have two images each."""
    table = load(own_table(tmp_path))
    assert table.classes == CLASSES
    assert len(table.rows) == 24
    assert table.rows["lesion_id"].nunique() == 12
    assert "split" not in table.rows
    assert table.set_aside == {}
    assert TABLE.load_test is not None
    test = TABLE.load_test(tmp_path, None)
    assert test is not None
    assert sorted(test.rows["image_id"]) == sorted(row[0] for row in ROWS if row[-1] == "test")


@pytest.mark.parametrize(
    "written_as",
    ["pictures/a.jpg", "pictures\\a.jpg", "./pictures/a.jpg", "a.jpg", "a", "pictures/a"],
)
def test_how_an_image_is_named(tmp_path: Path, written_as: str) -> None:
    table = load(written(tmp_path, [(written_as, "x"), *FOUR[1:]], ("image", "label")))
    assert len(table.rows) == 4
    assert written_as.replace("\\", "/") in set(table.rows["image_id"])


@pytest.mark.parametrize("delimiter, suffix", [(",", "csv"), (";", "csv"), ("\t", "tsv")])
def test_columns_in_any_case_and_order(tmp_path: Path, delimiter: str, suffix: str) -> None:
    written(tmp_path, [], ("nothing",))
    (tmp_path / "labels.csv").unlink()
    lines = [("Note", " LABEL ", "Image"), *(("n", label, name) for name, label in FOUR)]
    text = "\ufeff" + "".join(delimiter.join(line) + "\r\n" for line in lines) + "\r\n"
    write(tmp_path / "pictures" / f"t.{suffix}", text)
    assert recognise(tmp_path) is TABLE
    assert load(tmp_path).rows["label"].tolist() == ["x", "x", "y", "y"]


def test_images_in_a_zip_archive(tmp_path: Path) -> None:
    write_zip(tmp_path / "all.zip", {f"deep/{name}": picture(name) for name, _ in FOUR})
    write(tmp_path / "labels.csv", as_csv(FOUR, ("image", "label")))
    assert check_folder(tmp_path).training.images == 4


def test_patients_are_the_groups_where_they_are_known(tmp_path: Path) -> None:
    """L1 is of P1 also where that is not said; d has neither and is alone."""
    rows = [
        ("a.jpg", "x", "L1", "P1"),
        ("b.jpg", "x", "L1", ""),
        ("c.jpg", "y", "L2", ""),
        ("d.jpg", "y", "", ""),
    ]
    table = load(written(tmp_path, rows, ("image", "label", "lesion", "patient")))
    assert table.grouped_by == "patient"
    assert table.rows["lesion_id"].tolist() == ["P1", "P1", "L2", None]
    assert not table.sliced


def test_the_validation_images_are_told(tmp_path: Path) -> None:
    rows = [(name, label, "val" if name == "a.jpg" else "Training") for name, label in FOUR]
    table = load(written(tmp_path, rows, ("image", "label", "split")))
    assert table.rows["split"].tolist() == ["validation", "train", "train", "train"]
    assert [notice for notice in table.notices if notice.startswith("1 image is for validation")]


def test_what_is_not_used_is_named(tmp_path: Path) -> None:
    rows = [*FOUR, ("gone.jpg", "x"), ("e.jpg", "")]
    written(tmp_path, rows, ("image", "label"))
    write(tmp_path / "pictures" / "e.jpg", picture("e"))
    write(tmp_path / "pictures" / "f.jpg", picture("f"))
    write(tmp_path / "pictures" / "a.jpg", b"no image")
    report = check_folder(tmp_path).training
    assert report.table.set_aside == {
        "row without an image": ("gone.jpg",),
        "row without a label": ("e.jpg",),
        "image without a row": ("pictures/e.jpg", "pictures/f.jpg"),
        "unreadable image": ("a.jpg",),
    }
    assert report.images == 3
    assert any("1 of 5 images that the table names are missing" in n for n in report.table.notices)


@pytest.mark.parametrize(
    "columns, rows, complaint",
    [
        (("file", "label"), FOUR, r"no table .* image and label; labels\.csv has .* file, label"),
        (("image", "label"), [*FOUR, ("pictures/a", "x")], r"line 6: .* named twice, .* line 2"),
        (("image", "label"), [("g.jpg", "x")], r"none of the 1 rows of labels\.csv .* g\.jpg"),
        (("image", "label"), FOUR[:3], 'single image of class "y", c.jpg; correct its label'),
        (("image", "label"), FOUR[:2], 'only the class "x"; at least two'),
        (("image", "label"), [("/etc/a.jpg", "x")], "line 2: image .* is an absolute path"),
        (("image", "label"), [("C:\\a.jpg", "x")], "line 2: image .* is an absolute path"),
        (("image", "label"), [("\\\\server\\a.jpg", "x")], "is an absolute path"),
        (("image", "label"), [("pictures/../../a.jpg", "x")], "line 2: .* outside the folder"),
        (("image", "label"), [("..\\a.jpg", "x")], "outside the folder"),
        (("image", "label"), [(".", "x")], "outside the folder"),
        (("image", "label"), [("", "x")], "line 2: has no image"),
        (("image", "label"), [("a.jpg", "x", "z")], "line 2: has 3 cells .* 2 columns; put text"),
        (("image", "label"), [("a.jpg",)], "line 2: has 1 cells"),
        (("image", "label"), [("a.jpg", "x\x1b[31m")], "label is .* cannot be printed"),
        (("image", "label"), [("a" * (MAX_CELL + 1), "x")], f"longer than {MAX_CELL}"),
        (("image", "label"), [("a.jpg", "x" * (MAX_LABEL + 1))], f"at most {MAX_LABEL} char"),
        (("image", "label"), [("a.jpg", "[red]")], r'the label "\[red\]"; use letters'),
        (("image", "label"), [("a.jpg", "Predicted")], "is a column of our tables"),
        (("image", "label"), [*FOUR, ("a.jpg", '"x')], "not a readable table|cells"),
        (("image", "label", "label"), FOUR, "column label twice"),
        (("image", "label", "split"), [("a", "x", "train"), ("b", "x", "")], "line 3: split is"),
        (("image", "label", "split"), [("a", "x", "holdout")], 'split is "holdout"; write train'),
        (
            ("image", "label", "lesion", "patient"),
            [("a.jpg", "x", "L", "P"), ("b.jpg", "x", "L", "Q")],
            'line 3: lesion "L" is of patient "Q" here and of "P" above',
        ),
        (("image", "label"), [("a.jpg", "X"), ("b.jpg", "X"), *FOUR[2:], ("e", "x")], ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    tmp_path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]], complaint: str
) -> None:
    written(tmp_path, [], ("nothing",))
    text = "".join(",".join(row) + "\n" for row in [columns, *rows])
    write(tmp_path / "labels.csv", text)
    if not complaint:
        write(tmp_path / "pictures" / "e.jpg", picture("e"))
        complaint = 'has the classes "X" and "x"; write both in the same way'
    with pytest.raises(DataError, match=complaint) as caught:
        load(tmp_path)
    told = str(caught.value)
    assert told.isprintable()
    assert len(told) < 1000


@pytest.mark.parametrize("columns", [("file", "label"), ("image", "diagnosis")])
def test_a_table_with_other_columns_is_named_in_a_folder_that_is_not_known(
    tmp_path: Path, columns: tuple[str, str]
) -> None:
    written(tmp_path, FOUR, columns)
    names = ", ".join(sorted(columns))
    with pytest.raises(DataError) as caught:
        recognise(tmp_path)
    assert (
        f"; labels.csv has the columns {names}: rename that of the images to image and that of "
        "their classes to label;"
    ) in str(caught.value)


def test_a_name_that_fits_two_files(tmp_path: Path) -> None:
    written(tmp_path, FOUR, ("image", "label"))
    write(tmp_path / "others" / "a.jpg", picture("other"))
    with pytest.raises(DataError, match=r"may be others/a\.jpg and pictures/a\.jpg; write more"):
        load(tmp_path)
    # A path from the table is exact, whatever else is below.
    write(tmp_path / "a.jpg", picture("third"))
    assert load(tmp_path).rows["path"][0] == str(tmp_path / "a.jpg")


def test_two_tables(tmp_path: Path) -> None:
    written(tmp_path, FOUR, ("image", "label"))
    write(tmp_path / "old" / "labels.csv", as_csv(FOUR, ("image", "label")))
    with pytest.raises(DataError, match=r"several tables .* labels\.csv and old/labels\.csv"):
        load(tmp_path)


def test_a_table_that_is_not_text(tmp_path: Path) -> None:
    written(tmp_path, FOUR, ("image", "label"))
    write(tmp_path / "labels.csv", b"image,label\na.jpg,n\xe6vus\n")
    with pytest.raises(DataError, match=r"labels\.csv is not in UTF-8; save it as CSV UTF-8"):
        load(tmp_path)


def test_too_many_classes(tmp_path: Path) -> None:
    rows = [(f"{n}.jpg", f"class {n // 2}") for n in range(2 * MAX_CLASSES + 2)]
    for name, _ in rows:
        write(tmp_path / name, b"x")
    write(tmp_path / "labels.csv", as_csv(rows, ("image", "label")))
    with pytest.raises(
        DataError, match=f"has {MAX_CLASSES + 1} classes, .*; at most {MAX_CLASSES}"
    ):
        load(tmp_path)
    # A site's reply may have as many classes as a data set, and no more.
    assert MAX_CLASSES == field_kinds.MAX_CLASSES


def test_a_test_folder_of_its_own(tmp_path: Path) -> None:
    """It may be inside the data folder; then its table and its images are not training's."""
    own_table(tmp_path / "data")
    test_dir = written(tmp_path / "data" / "unseen", FOUR, ("image", "label"))
    reading = Reading(tests_in=[test_dir])
    table = TABLE.load_training(tmp_path / "data", reading)
    assert len(table.rows) == 24
    [(reason, names)] = table.set_aside.items()
    assert reason.startswith("image for testing, left alone")
    assert len(names) == 12
    assert TABLE.load_test is not None
    test = TABLE.load_test(tmp_path / "data", test_dir)
    assert test is not None
    assert test.rows["image_id"].tolist() == [f"test/{name}" for name, _ in FOUR]
    with pytest.raises(
        DataError, match=r'test image test/a\.jpg has the class "x", which training'
    ):
        check_folder(tmp_path / "data", test_dir, dataset=TABLE)


def test_of_a_test_folder_with_splits_only_the_test_images(tmp_path: Path) -> None:
    own_table(tmp_path / "data")
    test_dir = own_table(tmp_path / "unseen")
    report = check_folder(tmp_path / "data", test_dir)
    assert report.test is not None
    assert report.test.images == 12
    assert len(report.test.table.set_aside["image that is not for testing"]) == 24
    rows = [row for row in ROWS if row[-1] == "train"]
    with pytest.raises(DataError, match="all 24 images are for training or validation"):
        check_folder(tmp_path / "data", own_table(tmp_path / "seen", rows))
