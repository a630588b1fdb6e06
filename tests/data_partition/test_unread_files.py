"""Every image found is used, or named as left alone."""

from pathlib import Path

import pytest

from data_partition.dataset import Reading
from data_partition.dataset_ham10000 import load_test, load_training
from data_partition.errors import DataError
from data_partition.recognition import recognise
from data_partition.unread_files import UNREAD_ARCHIVES, UNREAD_IMAGES
from tests.data_partition import layouts
from tests.data_partition.layouts import IMAGES, LABELS, TEST_LABELS, picture, write


@pytest.mark.parametrize("suffix", sorted(UNREAD_IMAGES | UNREAD_ARCHIVES - {".zip"}))
@pytest.mark.parametrize("folder", ["", "HAM10000_images_part_1/", "test/mel/", "val/"])
def test_files_that_are_not_read_are_named(tmp_path: Path, folder: str, suffix: str) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / f"{folder}x{suffix.upper()}", b"some bytes")
    [(reason, names)] = load_training(tmp_path).set_aside.items()
    assert names == (f"{folder}x{suffix.upper()}",)
    assert f"not read, {suffix}; " in reason
    assert reason.endswith(("unpack it", "save it as JPEG or PNG", "save it as NIfTI"))


def test_an_archive_in_an_archive_is_named(tmp_path: Path) -> None:
    """As Dataverse packs a whole data set."""
    layouts.dataverse(tmp_path)
    layouts.write_zip(tmp_path / "dataverse_files.zip", {"HAM10000_images_part_2.zip": b"PK"})
    assert load_training(tmp_path).set_aside == {
        "archive that is not read, .zip; unpack it": (
            "dataverse_files.zip/HAM10000_images_part_2.zip",
        )
    }


def test_only_images_that_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata())
    for image_id in IMAGES:
        write(tmp_path / "images" / f"{image_id}.bmp", b"BM")
    with pytest.raises(DataError, match=r"8 files end in \.bmp, which fedskin does not read: save"):
        load_training(tmp_path)


@pytest.mark.parametrize("names", [("train", "val"), ("train_dir", "VAL_dir"), ("", "valid")])
def test_images_for_validation_are_used_as_such(tmp_path: Path, names: tuple[str, str]) -> None:
    ids = list(LABELS)
    layouts.class_tree(tmp_path / names[0], {i: LABELS[i].upper() for i in ids[:6]})
    layouts.class_tree(tmp_path / names[1], {i: LABELS[i] for i in ids[6:]})
    layouts.class_tree(tmp_path / "test_dir", TEST_LABELS)
    assert recognise(tmp_path).name == "ham10000"
    table = load_training(tmp_path)
    assert dict(zip(table.rows["image_id"], table.rows["label"], strict=True)) == LABELS
    assert table.rows["split"].tolist() == ["train"] * 6 + ["validation"] * 2
    assert table.set_aside == {}
    [notice] = table.notices
    assert notice.startswith("2 images are in a validation folder")
    test = load_test(tmp_path, None)
    assert test is not None
    assert test.rows["image_id"].tolist() == list(TEST_LABELS)
    assert "split" not in test.rows


def test_a_table_may_name_the_images_for_validation(tmp_path: Path) -> None:
    ids = list(IMAGES)
    layouts.write_images(tmp_path / "train", ids[:5])
    layouts.write_images(tmp_path / "val", ids[5:])
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata())
    assert load_training(tmp_path).rows["split"].tolist() == ["train"] * 5 + ["validation"] * 3


def test_without_a_folder_for_validation_there_is_no_split(tmp_path: Path) -> None:
    table = load_training(layouts.class_tree(tmp_path / "train", LABELS).parent)
    assert "split" not in table.rows
    assert table.notices == ()


def test_test_images_are_left_alone_where_others_are_the_test_set(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path / "data")
    layouts.challenge_test(tmp_path / "data")
    other = layouts.challenge_test(tmp_path / "other")
    left = tuple(f"ISIC2018_Task3_Test_Input/{image_id}.jpg" for image_id in TEST_LABELS)
    reason = "image in a folder for testing, left alone: other images are the test set"
    assert load_training(tmp_path / "data").set_aside == {}
    for folders in ([], [other]):
        table = load_training(tmp_path / "data", Reading(folders))
        assert table.set_aside == {reason: left}
    inside = tmp_path / "data" / "ISIC2018_Task3_Test_Input"
    assert load_training(tmp_path / "data", Reading([inside])).set_aside == {}


def test_rows_of_images_for_testing_are_not_missed(tmp_path: Path) -> None:
    layouts.class_tree(tmp_path / "train", dict(list(LABELS.items())[:6]))
    layouts.class_tree(tmp_path / "test", dict(list(LABELS.items())[6:]))
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata())
    table = load_training(tmp_path)
    assert table.set_aside == {"row of an image in a folder for testing": tuple(list(LABELS)[6:])}
    assert table.notices == ()


def test_other_images_in_a_test_folder_are_named(tmp_path: Path) -> None:
    layouts.challenge_test(tmp_path)
    layouts.write_images(tmp_path / "holiday", ["beach"])
    write(tmp_path / "holiday" / "sea.heic", b"x")
    layouts.dataverse(tmp_path / "training data")
    table = load_test(tmp_path / "training data", tmp_path)
    assert table is not None
    assert table.set_aside == {
        "image in a format that is not read, .heic; save it as JPEG or PNG": ("holiday/sea.heic",),
        "image that is not named as a test image": ("holiday/beach.jpg",),
    }


def test_half_a_release_is_said_loudly(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    for path in (tmp_path / "HAM10000_images_part_2").iterdir():
        path.unlink()
    table = load_training(tmp_path)
    assert table.set_aside == {"row without an image": tuple(list(IMAGES)[4:])}
    [notice] = table.notices
    assert notice.startswith(f"4 of 8 images that the table names are missing in {tmp_path}")
    assert "two parts, HAM10000_images_part_1 with 5,000 and HAM10000_images_part_2" in notice


def test_one_image_of_many_is_no_reason_to_shout(tmp_path: Path) -> None:
    """One of 21 is less than a twentieth."""
    labels = {f"ISIC_{number:07d}": "nv" for number in range(21)}
    layouts.write_images(tmp_path, list(labels)[1:])
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata(labels))
    assert load_training(tmp_path).notices == ()
    (tmp_path / "ISIC_0000001.jpg").unlink()
    assert load_training(tmp_path).notices[0].startswith("2 of 21 images")


def test_half_a_table_is_said_loudly(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata(dict(list(LABELS.items())[:5])))
    [notice] = load_training(tmp_path).notices
    assert notice.startswith("3 of 8 image files in ")


def test_half_a_test_set_is_said_loudly(tmp_path: Path) -> None:
    layouts.challenge_test(tmp_path)
    (tmp_path / "ISIC2018_Task3_Test_Input" / "ISIC_0035068.jpg").unlink()
    table = load_test(tmp_path, None)
    assert table is not None
    [notice] = table.notices
    assert notice.startswith("1 of 3 images that the table names are missing")


def test_ids_that_differ_in_case_are_said_to(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    old = tmp_path / "HAM10000_images_part_1" / "ISIC_0000003.jpg"
    old.rename(old.with_name("isic_0000003.jpg"))
    write(old.with_name("ISIC_9999999.jpg"), picture("x"))
    reason = "image whose id differs from its row's in upper and lower case"
    assert load_training(tmp_path).set_aside == {
        "row without an image": ("ISIC_0000003",),
        reason: ("HAM10000_images_part_1/isic_0000003.jpg",),
        "image without a row": ("HAM10000_images_part_1/ISIC_9999999.jpg",),
    }
    for path in sorted(tmp_path.rglob("*.jpg")):
        path.rename(path.with_name(path.name.lower()))
    with pytest.raises(DataError, match=r"differ in upper and lower case \(ISIC_0000001\)"):
        load_training(tmp_path)


def test_names_that_are_no_ids_are_shown_beside_one(tmp_path: Path) -> None:
    write(tmp_path / "HAM10000_metadata.csv", layouts.metadata({"ISIC_0000001.jpg": "nv"}))
    layouts.write_images(tmp_path, ["ISIC_0000001"])
    with pytest.raises(DataError, match=r"names ISIC_0000001\.jpg, but a file is called ISIC_0000"):
        load_training(tmp_path)
