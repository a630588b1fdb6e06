from pathlib import Path

import pytest

from data_partition.dataset_ham10000 import load_training
from data_partition.errors import DataError
from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.image_files import FoundFile
from data_partition.image_table import ImageTable
from tests.data_partition import layouts
from tests.data_partition.layouts import IMAGES, LABELS, LESIONS, SOURCES, picture, write

COLUMNS = ["image_id", "path", "member", "label", "lesion_id", "source"]


def column(table: ImageTable, name: str) -> dict[str, str | None]:
    return dict(zip(table.rows["image_id"], table.rows[name], strict=True))


def assert_complete(table: ImageTable) -> None:
    """All eight images, each read from the place that holds its own bytes."""
    assert list(table.rows.columns) == COLUMNS
    assert list(table.rows.index) == list(range(8))
    assert table.rows["image_id"].tolist() == sorted(IMAGES)
    assert table.classes == HAM10000_CLASSES
    assert column(table, "label") == LABELS
    for image_id, path, member in table.rows[["image_id", "path", "member"]].itertuples(
        index=False
    ):
        assert Path(path).is_absolute()
        assert FoundFile(path, member, (), -1).read_bytes() == picture(image_id)


@pytest.mark.parametrize(
    "name", ["HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab"]
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_dataverse_folders(tmp_path: Path, name: str, delimiter: str) -> None:
    layouts.dataverse(tmp_path, name)
    write(tmp_path / name, layouts.metadata(delimiter=delimiter))
    table = load_training(tmp_path)
    assert_complete(table)
    assert column(table, "lesion_id") == LESIONS
    assert column(table, "source") == SOURCES
    assert "Dataverse" in table.layout
    assert table.set_aside == {}


@pytest.mark.parametrize("inner", ["", "HAM10000_images_part_1/"])
def test_dataverse_zips_are_read_in_place(tmp_path: Path, inner: str) -> None:
    ids = list(IMAGES)
    for part, members in (("1", ids[:4]), ("2", ids[4:])):
        layouts.write_zip(
            tmp_path / f"HAM10000_images_part_{part}.zip",
            {
                **{f"{inner}{image_id}.jpg": picture(image_id) for image_id in members},
                # macOS's archiver adds such a shadow of each file.
                f"__MACOSX/._{members[0]}.jpg": b"",
            },
        )
    write(tmp_path / "HAM10000_metadata", layouts.metadata(with_dataset=False))
    before = sorted(tmp_path.rglob("*"))
    table = load_training(tmp_path)
    assert_complete(table)
    assert all(path.endswith(".zip") for path in table.rows["path"])
    assert set(column(table, "source").values()) == {None}
    assert table.set_aside == {}
    assert sorted(tmp_path.rglob("*")) == before


def test_quotes_and_byte_order_mark(tmp_path: Path) -> None:
    # Dataverse's own .tab files quote every text.
    layouts.dataverse(tmp_path)
    lines = layouts.metadata(delimiter="\t").splitlines()
    quoted = ["\t".join(f'"{field}"' for field in line.split("\t")) for line in lines]
    write(tmp_path / "HAM10000_metadata.csv", "\ufeff" + "\r\n".join(quoted))
    assert_complete(load_training(tmp_path))


def test_kaggle_with_every_image_twice(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path / "archive")
    write(
        tmp_path / "archive" / "HAM10000_metadata.csv",
        layouts.metadata(with_dataset=False),
    )
    write(tmp_path / "archive" / "hmnist_28_28_RGB.csv", "pixel0000,label\n1,2\n")
    layouts.write_images(tmp_path / "archive" / "ham10000_images_part_1", list(IMAGES)[:4])
    write(tmp_path / "archive" / "ham10000_images_part_1" / "ISIC_0000002.jpg", picture("other"))
    table = load_training(tmp_path)
    assert_complete(table)
    assert "Kaggle" in table.layout
    # "H" sorts before "h": the upper-case folder's files are kept.
    copies = [f"archive/ham10000_images_part_1/{image_id}.jpg" for image_id in list(IMAGES)[:4]]
    copies[1] += " (differs from archive/HAM10000_images_part_1/ISIC_0000002.jpg)"
    assert table.set_aside == {"duplicate file": tuple(copies)}


def test_copies_in_folder_and_zip(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    members = {"ISIC_0000001.jpg": picture("ISIC_0000001"), "ISIC_0000002.jpg": b"damaged"}
    layouts.write_zip(tmp_path / "HAM10000_images_part_1.zip", members)
    table = load_training(tmp_path)
    assert_complete(table)
    assert table.set_aside == {
        "duplicate file": (
            "HAM10000_images_part_1.zip/ISIC_0000001.jpg",
            "HAM10000_images_part_1.zip/ISIC_0000002.jpg "
            "(differs from HAM10000_images_part_1/ISIC_0000002.jpg)",
        )
    }


def test_challenge_without_groupings(tmp_path: Path) -> None:
    table = load_training(layouts.challenge(tmp_path))
    assert_complete(table)
    assert "ISIC challenge" in table.layout
    assert set(column(table, "lesion_id").values()) == {None}


def test_challenge_with_groupings(tmp_path: Path) -> None:
    layouts.challenge(tmp_path)
    lines = [f"{image_id},{lesion},histopathology" for image_id, lesion in LESIONS.items()]
    write(
        tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv",
        "\n".join(["image,lesion_id,diagnosis_confirm_type", *lines]),
    )
    table = load_training(tmp_path)
    assert_complete(table)
    assert column(table, "lesion_id") == LESIONS


def test_class_tree_in_any_case(tmp_path: Path) -> None:
    labels = {
        image_id: label.upper() if label == "nv" else label for image_id, label in LABELS.items()
    }
    layouts.class_tree(tmp_path / "Train", labels, ".JPEG")
    layouts.class_tree(tmp_path / "test", layouts.TEST_LABELS)
    table = load_training(tmp_path)
    assert_complete(table)
    assert "folder per class" in table.layout
    assert table.set_aside == {}


def test_test_and_validation_images_are_left_alone(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    layouts.challenge_test(tmp_path)
    layouts.write_zip(
        tmp_path / "ISIC2018_Task3_Test_Images.zip", {"ISIC_0034531.jpg": picture("a")}
    )
    layouts.write_images(tmp_path / "ISIC2018_Task3_Validation_Input", ["ISIC_0034321"])
    table = load_training(tmp_path)
    assert_complete(table)
    assert table.set_aside == {
        "image of the ISIC challenge's validation set, left alone": (
            "ISIC2018_Task3_Validation_Input/ISIC_0034321.jpg",
        )
    }


def test_one_image_is_missing_and_one_too_many(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    (tmp_path / "HAM10000_images_part_1" / "ISIC_0000003.jpg").unlink()
    write(tmp_path / "HAM10000_images_part_1" / "ISIC_0000099.PNG", picture("x", "PNG"))
    table = load_training(tmp_path)
    assert table.rows["image_id"].tolist() == sorted(set(IMAGES) - {"ISIC_0000003"})
    assert table.set_aside == {
        "row without an image": ("ISIC_0000003",),
        "image without a row": ("HAM10000_images_part_1/ISIC_0000099.PNG",),
    }


def test_hidden_files_are_not_seen(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / "HAM10000_images_part_1" / "._ISIC_0000001.jpg", b"")
    write(tmp_path / ".trash" / "ISIC_0000001.jpg", b"")
    write(tmp_path / ".DS_Store", b"\0")
    table = load_training(tmp_path)
    assert_complete(table)
    assert table.set_aside == {}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path / "disk")
    data = tmp_path / "data"
    data.mkdir()
    (data / "HAM10000").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "disk" / "loop").symlink_to(data, target_is_directory=True)
    table = load_training(data)
    assert_complete(table)
    assert table.set_aside == {}


def test_identical_rows_are_merged_and_gaps_filled(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    last = layouts.metadata().splitlines()[-1]
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata() + last + "\n")
    write(tmp_path / "HAM10000_metadata.tab", layouts.metadata(with_dataset=False))
    table = load_training(tmp_path)
    assert_complete(table)
    assert column(table, "source") == SOURCES


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("", "not a readable table"),
        (b"image_id,dx\n\xff\xfe,nv\n", "not a readable table"),
        ("image_id,age\nISIC_0000001,40\n", "lacks the column dx"),
    ],
)
def test_damaged_metadata(tmp_path: Path, content: bytes | str, complaint: str) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / "HAM10000_metadata.csv", content)
    with pytest.raises(DataError, match=rf"HAM10000_metadata\.csv.*{complaint}"):
        load_training(tmp_path)
