from pathlib import Path

import pytest

from data_partition.check import check_folder
from data_partition.errors import DataError
from tests.data_partition import layouts
from tests.data_partition.layouts import picture, write
from tests.data_partition.volumes import write_case


def test_report_of_a_sound_folder(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    layouts.challenge_test(tmp_path)
    progress: list[tuple[int, int]] = []
    report = check_folder(tmp_path, progress=lambda done, total: progress.append((done, total)))

    assert "Dataverse" in report.training.table.layout
    assert report.training.images == 8
    assert report.training.classes == {
        "akiec": 1, "bcc": 1, "bkl": 1, "df": 1, "mel": 1, "nv": 2, "vasc": 1,
    }  # fmt: skip
    # 8 images; two of them show HAM_1, the other six a lesion each.
    assert report.training.lesions == 7
    assert report.training.lesions_with_several_images == 1
    assert report.training.sources == {
        "rosendahl": 3, "vidir_modern": 2, "vidir_molemax": 2, "vienna_dias": 1,
    }  # fmt: skip
    assert report.training.table.set_aside == {}

    assert report.test is not None
    assert report.test.images == 3
    assert report.test.classes["nv"] == 1
    assert report.test.classes["df"] == 0
    assert report.test.lesions == 0
    assert report.test.sources == {}
    # First the training set's 8 images, then the test set's 3.
    assert progress == [*((done, 8) for done in range(1, 9)), (1, 3), (2, 3), (3, 3)]


def test_unreadable_images_are_found_and_not_counted(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    layouts.challenge_test(tmp_path / "test set")
    folder = tmp_path / "HAM10000_images_part_1"
    whole = picture("ISIC_0000002")
    write(folder / "ISIC_0000002.jpg", whole[: len(whole) // 2])
    write(folder / "ISIC_0000003.jpg", b"")
    write(folder / "ISIC_0000004.jpg", "<html>not found</html>")
    (folder / "ISIC_0000001.jpg").unlink()
    write(tmp_path / "test set" / "ISIC2018_Task3_Test_Input" / "ISIC_0034530.jpg", b"")

    report = check_folder(tmp_path, tmp_path / "test set")
    assert report.training.table.set_aside == {
        "row without an image": ("ISIC_0000001",),
        "unreadable image": ("ISIC_0000002", "ISIC_0000003", "ISIC_0000004"),
    }
    assert report.training.images == 4
    assert report.training.classes["nv"] == 0
    assert report.training.lesions == 4
    assert report.training.lesions_with_several_images == 0
    assert report.test is not None
    assert report.test.table.set_aside == {"unreadable image": ("ISIC_0034530",)}
    assert report.test.images == 2


def test_what_stands_twice_is_found(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    layouts.challenge_test(tmp_path)
    part = tmp_path / "HAM10000_images_part_1"
    write(part / "ISIC_0000004.jpg", picture("ISIC_0000003"))  # mel and bkl
    write(part / "ISIC_0000002.jpg", picture("ISIC_0000001"))  # both nv, of one lesion
    target = tmp_path / "ISIC2018_Task3_Test_Input" / "ISIC_0034530.jpg"
    write(target, picture("ISIC_0000003") + b"appended")
    seen: list[bytes] = []
    report = check_folder(tmp_path, look=lambda pixels: seen.append(pixels.tobytes()))
    assert [copies.ids for copies in report.training.copies] == [
        ("ISIC_0000003", "ISIC_0000004"),
        ("ISIC_0000001", "ISIC_0000002"),
    ]
    assert [copies.contradicting for copies in report.training.copies] == [True, False]
    assert report.overlap is not None
    matches = {id_: str(match) for id_, match in report.overlap.matches.items()}
    assert matches == {"ISIC_0034530": "same pixels as ISIC_0000003"}
    # What is looked at is in the order of the report's images.
    equal = [seen[2] == other for other in seen]
    assert report.images["image_id"][equal].tolist() == [
        "ISIC_0000003",
        "ISIC_0000004",
        "ISIC_0034530",
    ]
    assert report.images["is_test"].tolist() == [False] * 8 + [True] * 3


def test_lesions_with_two_diagnoses_or_sources_are_found(tmp_path: Path) -> None:
    """HAM_1 is seen twice, in two sources; HAM_2 gets another image, another diagnosis."""
    layouts.dataverse(tmp_path)
    table = tmp_path / "HAM10000_metadata.csv"
    rows = table.read_text().replace("HAM_3,", "HAM_2,").replace(
        "ISIC_0000002,nv,histo,,male,back,rosendahl", "ISIC_0000002,nv,histo,,male,back,elsewhere"
    )  # fmt: skip
    table.write_text(rows)
    found = check_folder(tmp_path).training
    assert found.diagnoses == {"HAM_2": {"bkl": ["ISIC_0000004"], "mel": ["ISIC_0000003"]}}
    assert found.origins == {
        "HAM_1": {"elsewhere": ["ISIC_0000002"], "rosendahl": ["ISIC_0000001"]},
        "HAM_2": {"rosendahl": ["ISIC_0000003"], "vidir_modern": ["ISIC_0000004"]},
    }


def test_unreadable_images_in_a_zip(tmp_path: Path) -> None:
    members = {f"{image_id}.jpg": picture(image_id) for image_id in layouts.IMAGES}
    members["ISIC_0000005.jpg"] = members["ISIC_0000005.jpg"][:100]
    layouts.write_zip(tmp_path / "HAM10000_images_part_1.zip", members)
    write(tmp_path / "HAM10000_metadata.tab", layouts.metadata(delimiter="\t"))
    report = check_folder(tmp_path)
    assert report.training.images == 7
    assert report.training.table.set_aside == {"unreadable image": ("ISIC_0000005",)}
    assert report.test is None


def test_faults_of_the_folder_are_raised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set that is known"):
        check_folder(tmp_path)
    layouts.dataverse(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no test images"):
        check_folder(tmp_path, tmp_path / "empty")


def test_report_of_volumes(tmp_path: Path) -> None:
    for number in (1, 2):
        write_case(tmp_path / "HGG", f"BraTS19_TMC_{number}_1")
    damaged = write_case(tmp_path / "LGG", "BraTS19_2013_3_1")
    write(damaged / "BraTS19_2013_3_1_t2.nii.gz", b"damaged")
    write_case(tmp_path / "LGG", "BraTS19_2013_4_1", ["t1", "seg"])
    progress: list[tuple[int, int]] = []
    report = check_folder(tmp_path, progress=lambda done, total: progress.append((done, total)))
    assert report.test is None
    found = report.training
    assert "NIfTI" in found.table.layout
    assert found.table.grouped_by == "patient"
    # Eight slices of each of two patients; those of the third are set aside, once by name.
    assert (found.images, found.lesions) == (16, 2)
    assert found.classes == {"HGG": 16, "LGG": 0}
    assert found.sources == {"TMC": 16}
    assert found.splits == {}
    assert found.table.set_aside == {
        "lacks t1ce, t2, flair": ("BraTS19_2013_4_1",),
        "unreadable t2": ("BraTS19_2013_3_1",),
    }
    assert progress == [(done, 24) for done in range(1, 25)]


def test_report_of_cut_slices(tmp_path: Path) -> None:
    for folder in ("train/HGG", "train/LGG", "test/HGG"):
        layouts.write_images(tmp_path / folder, ["1", "2"])
    write(tmp_path / "test" / "HGG" / "2.jpg", b"")
    found = check_folder(tmp_path).training
    assert found.splits == {"test": 1, "train": 4}
    # The pictures depend on their names alone.
    overlap = check_folder(tmp_path).overlap
    assert overlap is not None
    assert not overlap.lesions_known
    assert list(overlap.matches) == ["test/HGG/1"]
    assert found.table.set_aside == {"unreadable image": ("test/HGG/2",)}
    assert found.lesions == 0


def test_a_test_folder_beside_brats(tmp_path: Path) -> None:
    write_case(tmp_path / "HGG", "BraTS19_TMC_1_1")
    with pytest.raises(DataError, match="BraTS2019 has its test patients in"):
        check_folder(tmp_path, tmp_path)
