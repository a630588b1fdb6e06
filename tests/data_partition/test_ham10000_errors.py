"""Folders that are no HAM10000 are refused with one line."""

from pathlib import Path

import pytest

from data_partition.dataset_ham10000 import load_training
from data_partition.errors import DataError
from tests.data_partition import layouts
from tests.data_partition.layouts import IMAGES, LABELS, write


@pytest.mark.parametrize(
    "row, complaint",
    [
        ("HAM_1,ISIC_0000001,mel,histo,,,,rosendahl", "label is both nv and mel"),
        ("HAM_9,ISIC_0000001,nv,histo,,,,rosendahl", "lesion_id is both HAM_1 and HAM_9"),
    ],
)
def test_conflicting_rows(tmp_path: Path, row: str, complaint: str) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata() + row + "\n")
    with pytest.raises(DataError, match=f"ISIC_0000001.*{complaint}"):
        load_training(tmp_path)


def test_one_image_in_two_class_folders(tmp_path: Path) -> None:
    layouts.class_tree(tmp_path / "train", LABELS)
    layouts.write_images(tmp_path / "train" / "df", ["ISIC_0000001"])
    with pytest.raises(DataError, match=r"ISIC_0000001.*label is both df and nv"):
        load_training(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*nowhere"):
        load_training(tmp_path / "nowhere")


@pytest.mark.parametrize("num_images", [0, 3])
def test_no_metadata(tmp_path: Path, num_images: int) -> None:
    layouts.write_images(tmp_path / "images", list(IMAGES)[:num_images])
    with pytest.raises(DataError, match=f"found {num_images} training images, but neither"):
        load_training(tmp_path)


def test_only_a_test_set_is_no_training_set(tmp_path: Path) -> None:
    layouts.challenge_test(tmp_path)
    layouts.class_tree(tmp_path / "test", layouts.TEST_LABELS)
    with pytest.raises(DataError, match="found 0 training images"):
        load_training(tmp_path)


@pytest.mark.parametrize("label", ["melanom", ""])
def test_unknown_label(tmp_path: Path, label: str) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata({**LABELS, "ISIC_0000003": label}))
    with pytest.raises(DataError, match=f"ISIC_0000003 has the label '{label}'.*akiec"):
        load_training(tmp_path)


def test_unknown_class_folder(tmp_path: Path) -> None:
    layouts.class_tree(tmp_path / "train", {**LABELS, "ISIC_0000003": "scc"})
    with pytest.raises(DataError, match="train/scc has the label 'scc'"):
        load_training(tmp_path)


@pytest.mark.parametrize("values", ["1.0,1.0", "0.0,0.0", "0.5,0.5", "x,1.0", "-1.0,2.0", ",1.0"])
def test_row_that_is_not_one_hot(tmp_path: Path, values: str) -> None:
    layouts.challenge(tmp_path)
    truth = tmp_path / "ISIC2018_Task3_Training_GroundTruth"
    write(
        truth / "ISIC2018_Task3_Training_GroundTruth.csv",
        one_hot_with("ISIC_0000003", values),
    )
    with pytest.raises(DataError, match="ISIC_0000003 is not one-hot"):
        load_training(tmp_path)


def one_hot_with(image_id: str, values: str) -> str:
    lines = layouts.one_hot(LABELS).splitlines()
    return "\n".join(
        f"{image_id},{values},0,0,0,0,0" if line.startswith(image_id) else line for line in lines
    )


def test_no_row_has_an_image(tmp_path: Path) -> None:
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata())
    layouts.write_images(tmp_path, ["ISIC_0000099"])
    with pytest.raises(DataError, match=r"no image in .* has both"):
        load_training(tmp_path)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("image_id,dx\n", "the table has no rows that can be used; get the whole table"),
        ("image_id,dx,dx \nISIC_0000003,nv,nv\n", "has the column dx twice; keep the right one"),
        ("image_id,dx\nISIC_0000003,nv,back\n", "line 2: has more cells than there are columns"),
    ],
)
def test_a_table_that_says_too_little_or_too_much(
    tmp_path: Path, table: str, complaint: str
) -> None:
    write(tmp_path / "HAM10000_metadata.csv", table)
    layouts.write_images(tmp_path, ["ISIC_0000003"])
    with pytest.raises(DataError, match=complaint):
        load_training(tmp_path)


def test_empty_cells_beyond_the_columns_are_no_fault(tmp_path: Path) -> None:
    """Some programs end every row with a comma."""
    lines = layouts.metadata().splitlines()
    write(tmp_path / "HAM10000_metadata.csv", "\n".join([lines[0], *(f"{x}," for x in lines[1:])]))
    layouts.write_images(tmp_path, layouts.IMAGES)
    assert len(load_training(tmp_path).rows) == len(layouts.IMAGES)


def test_damaged_archive(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / "HAM10000_images_part_1.zip", b"PK\3\4 half a download")
    with pytest.raises(DataError, match=r"HAM10000_images_part_1\.zip.*download it again"):
        load_training(tmp_path)


def test_messages_are_one_line(tmp_path: Path) -> None:
    write(tmp_path / "HAM10000_metadata.csv", 'image_id,dx\n"ISIC_1,nv\n')
    with pytest.raises(DataError) as error:
        load_training(tmp_path)
    assert "\n" not in str(error.value)
