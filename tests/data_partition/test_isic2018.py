from pathlib import Path

import pytest

from data_partition.dataset_ham10000 import load_test, load_training
from data_partition.errors import DataError
from data_partition.image_table import ImageTable
from tests.data_partition import layouts
from tests.data_partition.layouts import TEST_LABELS, picture, write


def assert_complete(table: ImageTable | None) -> None:
    assert table is not None
    assert dict(zip(table.rows["image_id"], table.rows["label"], strict=True)) == TEST_LABELS
    assert "dx_type" not in table.rows


def test_challenge_inside_the_data_folder(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path / "HAM10000")
    layouts.challenge_test(tmp_path / "HAM10000")
    table = load_test(tmp_path, None)
    assert_complete(table)
    assert table is not None
    assert "ISIC challenge" in table.layout
    assert table.set_aside == {}


def test_challenge_in_a_folder_of_its_own(tmp_path: Path) -> None:
    layouts.challenge_test(tmp_path / "isic")
    assert_complete(load_test(tmp_path / "not looked at", tmp_path / "isic"))


@pytest.mark.parametrize("suffix", [".csv", ".tab", ""])
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_dataverse_folder(tmp_path: Path, suffix: str, delimiter: str) -> None:
    layouts.dataverse(tmp_path)
    layouts.write_images(tmp_path / "ISIC2018_Task3_Test_Images", TEST_LABELS)
    write(
        tmp_path / f"ISIC2018_Task3_Test_GroundTruth{suffix}",
        layouts.metadata(TEST_LABELS, delimiter, with_dataset=False),
    )
    table = load_test(tmp_path, None)
    assert_complete(table)
    assert table is not None
    assert "Dataverse" in table.layout


def test_dataverse_zip_beside_readers_answers(tmp_path: Path) -> None:
    layouts.write_zip(
        tmp_path / "ISIC2018_Task3_Test_Images.zip",
        {
            f"ISIC2018_Task3_Test_Images/{image_id}.jpg": picture(image_id)
            for image_id in TEST_LABELS
        },
    )
    write(tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", layouts.metadata(TEST_LABELS))
    # Published beside it; its dx column contradicts the truth.
    wrong = dict.fromkeys(TEST_LABELS, "df")
    write(tmp_path / "ISIC2018_Task3_Test_Interaction.csv", layouts.metadata(wrong))
    assert_complete(load_test(tmp_path, None))


def test_files_of_any_name_in_a_given_folder(tmp_path: Path) -> None:
    layouts.write_images(tmp_path / "images", TEST_LABELS, ".JPG")
    write(tmp_path / "truth.csv", layouts.metadata(TEST_LABELS))
    assert load_test(tmp_path, None) is None
    assert_complete(load_test(tmp_path, tmp_path))


@pytest.mark.parametrize("given", [None, ".", "test"])
def test_class_tree(tmp_path: Path, given: str | None) -> None:
    layouts.class_tree(tmp_path / "train", layouts.LABELS)
    layouts.class_tree(tmp_path / "test", TEST_LABELS)
    assert_complete(load_test(tmp_path, None if given is None else tmp_path / given))


def test_no_test_set(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path / "ham")
    (tmp_path / "empty").mkdir()
    assert load_test(tmp_path / "ham", None) is None
    for folder in ("ham", "empty"):
        with pytest.raises(DataError, match=f"no test images in .*{folder}"):
            load_test(tmp_path / "ham", tmp_path / folder)
    with pytest.raises(DataError, match="no such folder"):
        load_test(tmp_path / "ham", tmp_path / "nowhere")


def test_the_innermost_name_tells_what_a_file_is_for(tmp_path: Path) -> None:
    layouts.challenge(tmp_path / "test")
    layouts.challenge_test(tmp_path / "train")
    assert_complete(load_test(tmp_path, None))
    assert load_training(tmp_path).rows["image_id"].tolist() == list(layouts.IMAGES)


def test_a_truth_alone_is_no_test_set(tmp_path: Path) -> None:
    write(tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", layouts.one_hot(TEST_LABELS))
    assert load_test(tmp_path, None) is None


def test_images_without_a_truth(tmp_path: Path) -> None:
    layouts.write_images(tmp_path / "ISIC2018_Task3_Test_Input", TEST_LABELS)
    with pytest.raises(DataError, match=r"3 test images but no labels.*GroundTruth\.csv"):
        load_test(tmp_path, None)


def test_row_that_is_not_one_hot(tmp_path: Path) -> None:
    layouts.challenge_test(tmp_path)
    (truth,) = tmp_path.rglob("*GroundTruth.csv")
    truth.write_text(truth.read_text().replace("1.0", "0.0", 1))
    with pytest.raises(DataError, match="ISIC_0034529 is not one-hot"):
        load_test(tmp_path, None)


def test_what_is_set_aside(tmp_path: Path) -> None:
    # One release has 1,512 rows, another 1,511 images: mixed, a row is left over.
    layouts.challenge_test(tmp_path)
    (tmp_path / "ISIC2018_Task3_Test_Input" / "ISIC_0035068.jpg").unlink()
    layouts.write_images(tmp_path / "ISIC2018_Task3_Test_Input", ["ISIC_0099999"])
    table = load_test(tmp_path, None)
    assert table is not None
    assert table.rows["image_id"].tolist() == ["ISIC_0034529", "ISIC_0034530"]
    assert table.set_aside == {
        "row without an image": ("ISIC_0035068",),
        "image without a row": ("ISIC2018_Task3_Test_Input/ISIC_0099999.jpg",),
    }
