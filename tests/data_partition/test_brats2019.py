"""BraTS2019 recognised in each layout; nothing of it is decoded for that."""

import zipfile
from pathlib import Path

import pytest

from data_partition.brats2019 import load_brats2019
from data_partition.errors import DataError
from data_partition.image_store import open_store
from data_partition.image_table import ImageTable
from tests.data_partition.layouts import picture, write
from tests.data_partition.volumes import KINDS, touch_cases, write_case

HIGH, LOW = "BraTS19_CBICA_AAB_1", "BraTS19_2013_0_1"


def of_cases(table: ImageTable) -> dict[str, tuple[str, str]]:
    """Label and site of each case."""
    firsts = table.rows.groupby("lesion_id")[["label", "source"]].first()
    return {str(case): (row["label"], row["source"]) for case, row in firsts.iterrows()}


def test_the_official_release(tmp_path: Path) -> None:
    touch_cases(tmp_path, {HIGH: "HGG", LOW: "LGG"})
    write(tmp_path / "name_mapping.csv", "Grade,BraTS_2019_subject_ID\n")
    table = load_brats2019(tmp_path)
    assert table.layout == ("BraTS2019, NIfTI volumes (folders), 8 slices of t1ce, t2, flair")
    assert table.classes == ("HGG", "LGG")
    assert table.grouped_by == "patient"
    assert table.set_aside == {}
    assert of_cases(table) == {HIGH: ("HGG", "CBICA"), LOW: ("LGG", "2013")}
    assert table.rows["image_id"].tolist() == [
        f"{case}-{number}" for case in (LOW, HIGH) for number in range(1, 9)
    ]
    assert "split" not in table.rows


def test_ids_sort_as_slices_do(tmp_path: Path) -> None:
    touch_cases(tmp_path, {HIGH: "HGG"})
    ids = load_brats2019(tmp_path, slices_per_patient=12).rows["image_id"].tolist()
    assert ids == [f"{HIGH}-{number:02d}" for number in range(1, 13)]


@pytest.mark.parametrize("nested", ["", "deep/er/", "HGG/", "MICCAI_BraTS_2019_Data_Training/"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_folders_nested_twice_and_unzipped_files(tmp_path: Path, nested: str, suffix: str) -> None:
    write_case(tmp_path / f"{nested}HGG", HIGH, suffix=suffix)
    assert of_cases(load_brats2019(tmp_path)) == {HIGH: ("HGG", "CBICA")}


def test_a_folder_named_like_the_file_in_it(tmp_path: Path) -> None:
    case = write_case(tmp_path / "hgg", HIGH, suffix=".nii")
    for number, file in enumerate(sorted(case.glob("*.nii"))):
        content = file.read_bytes()
        file.unlink()
        write(file / f"{number:08d}.nii", content)
    table = load_brats2019(tmp_path)
    assert of_cases(table) == {HIGH: ("HGG", "CBICA")}
    assert len(open_store(table, side=8, cache_dir=tmp_path / "cache").images) == 8


def test_a_zip_archive_is_read_in_place(tmp_path: Path) -> None:
    write_case(tmp_path / "LGG", LOW)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted((tmp_path / "LGG" / LOW).iterdir()):
            archive.write(file, f"release/LGG/{LOW}/{file.name}")
            file.unlink()
    table = load_brats2019(tmp_path)
    assert "zip archives" in table.layout
    store = open_store(table, side=8, cache_dir=tmp_path / "cache")
    assert len(store.images) == 8
    # Other channels are another store, though the archive is the same file.
    other = load_brats2019(tmp_path, modalities=("t1", "t2", "flair"))
    others = open_store(other, side=8, cache_dir=tmp_path / "cache")
    assert (others.images != store.images).any()


def test_names_of_earlier_years_stayed_in_the_set(tmp_path: Path) -> None:
    touch_cases(tmp_path, {"Brats18_TCIA01_1_1": "HGG", "Brats17_2013_2_1": "LGG"})
    assert of_cases(load_brats2019(tmp_path)) == {
        "Brats17_2013_2_1": ("LGG", "2013"),
        "Brats18_TCIA01_1_1": ("HGG", "TCIA01"),
    }


def test_cases_that_lack_something_are_set_aside_by_name(tmp_path: Path) -> None:
    touch_cases(tmp_path, {HIGH: "HGG"})
    touch_cases(tmp_path, {"BraTS19_TMC_1_1": "HGG"}, KINDS[:-1])
    touch_cases(tmp_path, {"BraTS19_TMC_2_1": "LGG"}, ("t1", "t1ce", "seg"))
    touch_cases(tmp_path, {"BraTS19_TMC_3_1": "HGG"}, ("t2", "t1ce", "flair", "seg"))
    write_case(tmp_path / "elsewhere", "BraTS19_TMC_4_1")
    write(tmp_path / "atlas.nii.gz", b"")
    write(tmp_path / "copy" / f"{HIGH}_t1.nii", b"")
    table = load_brats2019(tmp_path)
    assert table.set_aside == {
        "no segmentation": ("BraTS19_TMC_1_1",),
        "lacks t2, flair": ("BraTS19_TMC_2_1",),
        "neither in a folder HGG nor LGG": ("BraTS19_TMC_4_1",),
        "volume not named after a case": ("atlas.nii.gz",),
        "duplicate file": (f"copy/{HIGH}_t1.nii",),
    }
    # That the third lacks t1 matters only to those who ask for t1.
    assert set(of_cases(table)) == {HIGH, "BraTS19_TMC_3_1"}
    asked = load_brats2019(tmp_path, modalities=("t1", "t1ce", "flair"))
    assert asked.set_aside["lacks t1"] == ("BraTS19_TMC_3_1",)


def test_no_case_that_can_be_used_is_an_error(tmp_path: Path) -> None:
    touch_cases(tmp_path, {HIGH: "HGG"}, ("t1", "t2"))
    with pytest.raises(DataError, match=rf"no case .* can be used \(no segmentation: {HIGH}\)"):
        load_brats2019(tmp_path)


def test_a_case_in_both_grades_is_an_error(tmp_path: Path) -> None:
    touch_cases(tmp_path / "a", {HIGH: "HGG"}, ("t1", "t2", "seg"))
    touch_cases(tmp_path / "b", {HIGH: "LGG"}, ("t1ce", "flair"))
    with pytest.raises(DataError, match=f"case {HIGH} is both HGG and LGG"):
        load_brats2019(tmp_path)


def test_a_folder_without_brats_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "HGG" / "a.png", picture("a", "PNG"))
    with pytest.raises(DataError, match=r"^no BraTS2019 in .*: found neither"):
        load_brats2019(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        load_brats2019(tmp_path / "nowhere")


def write_slices(folder: Path, *names: str) -> Path:
    for name in names:
        kind = {"png": "PNG", "tif": "TIFF"}.get(name.rsplit(".")[-1].lower(), "JPEG")
        write(folder / name, picture(name, kind))
    return folder


def test_slices_already_cut_and_split(tmp_path: Path) -> None:
    write_slices(
        tmp_path / "dataset",
        f"train/HGG/{HIGH}-77.png",
        f"train/HGG/{HIGH}_t1ce_78.PNG",
        f"Valid/lgg/{LOW}_5.jpg",
        "test/LGG/BraTS19_TMC_3_1.nii_9.tif",
    )
    table = load_brats2019(tmp_path)
    assert table.layout == "BraTS2019, slices already cut and split (folders)"
    assert table.grouped_by == "patient"
    assert table.set_aside == {}
    columns = ["image_id", "label", "lesion_id", "source", "split"]
    assert table.rows[columns].values.tolist() == [
        ["test/LGG/BraTS19_TMC_3_1.nii_9", "LGG", "BraTS19_TMC_3_1", "TMC", "test"],
        [f"train/HGG/{HIGH}-77", "HGG", HIGH, "CBICA", "train"],
        [f"train/HGG/{HIGH}_t1ce_78", "HGG", HIGH, "CBICA", "train"],
        [f"validation/LGG/{LOW}_5", "LGG", LOW, "2013", "validation"],
    ]
    store = open_store(table, side=8, cache_dir=tmp_path / "cache")
    assert store.rows["split"].tolist() == ["test", "train", "train", "validation"]
    assert store.labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "VAL"])
def test_names_of_the_validation_folder(tmp_path: Path, name: str) -> None:
    write_slices(tmp_path, "train/HGG/1.png", f"{name}/HGG/1.png")
    assert load_brats2019(tmp_path).rows["split"].tolist() == ["train", "validation"]


def test_names_without_a_case_leave_the_patient_unknown(tmp_path: Path) -> None:
    """The same name in several folders is several slices."""
    write_slices(tmp_path, "train/HGG/1.png", "train/LGG/1.png", "test/HGG/1.png")
    rows = load_brats2019(tmp_path).rows
    assert rows["image_id"].tolist() == ["test/HGG/1", "train/HGG/1", "train/LGG/1"]
    assert rows["lesion_id"].isna().all()
    assert rows["source"].isna().all()


def test_a_folder_per_case(tmp_path: Path) -> None:
    write_slices(tmp_path, f"train/HGG/{HIGH}/1.png", f"train/LGG/{LOW}/1.png")
    rows = load_brats2019(tmp_path).rows
    assert rows["image_id"].tolist() == [f"train/HGG/{HIGH}/1", f"train/LGG/{LOW}/1"]
    assert rows["lesion_id"].tolist() == [HIGH, LOW]


def test_slices_that_are_not_used(tmp_path: Path) -> None:
    write_slices(tmp_path, "train/HGG/1.png", "train/HGG/1.jpg", "train/unknown/2.png", "HGG/3.png")
    assert load_brats2019(tmp_path).set_aside == {
        "image outside the folders of splits and grades": ("HGG/3.png", "train/unknown/2.png"),
        "duplicate file": ("train/HGG/1.png",),  # after 1.jpg
    }


@pytest.mark.parametrize(
    "names, complaint",
    [
        (
            (f"train/HGG/{HIGH}_1.png", f"test/HGG/{HIGH}_2.png"),
            f"case {HIGH} is in both test and train; all slices of a patient belong to one split",
        ),
        (
            (f"train/HGG/{HIGH}_1.png", f"train/LGG/{HIGH}_2.png"),
            f"case {HIGH} is in both HGG and LGG",
        ),
        (("test/HGG/1.png", "valid/HGG/1.png"), "none in train/HGG or train/LGG"),
    ],
)
def test_splits_that_cannot_be_used(tmp_path: Path, names: tuple[str, ...], complaint: str) -> None:
    write_slices(tmp_path, *names)
    with pytest.raises(DataError, match=complaint) as caught:
        load_brats2019(tmp_path)
    assert "\n" not in str(caught.value)


def test_volumes_go_before_slices(tmp_path: Path) -> None:
    touch_cases(tmp_path, {HIGH: "HGG"})
    write_slices(tmp_path, "train/HGG/1.png")
    assert "NIfTI" in load_brats2019(tmp_path).layout
