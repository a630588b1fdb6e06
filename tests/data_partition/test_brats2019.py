"""BraTS2019 recognised in each layout; nothing of it is decoded for that."""

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from data_partition.axial_slices import SliceChoice
from data_partition.brats2019_volumes import ORACLE
from data_partition.dataset import Reading
from data_partition.dataset_brats2019 import load_brats2019, load_ungraded
from data_partition.errors import DataError
from data_partition.image_store import open_store
from data_partition.image_table import ImageTable
from data_partition.splits import SPLITS, split_patients
from tests.data_partition.layouts import picture, write
from tests.data_partition.volumes import HIGH, KINDS, LOW, touch_cases, write_case, write_slices

NO_SEGMENTATION = "no segmentation, which slice-choice = brain and all do without"


def of_cases(table: ImageTable) -> dict[str, tuple[str, str]]:
    """Label and site of each case."""
    firsts = table.rows.groupby("lesion_id")[["label", "source"]].first()
    return {str(case): (row["label"], row["source"]) for case, row in firsts.iterrows()}


def test_the_official_release(tmp_path: Path) -> None:
    touch_cases(tmp_path, {HIGH: "HGG", LOW: "LGG"})
    write(tmp_path / "name_mapping.csv", "Grade,BraTS_2019_subject_ID\n")
    table = load_brats2019(tmp_path)
    assert table.layout == (
        "BraTS2019, NIfTI volumes (folders), 8 slices of t1ce, t2, flair, spread through the "
        "segmented tumour"
    )
    assert table.notices == (ORACLE,)
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
    ids = load_brats2019(tmp_path, Reading(slices_per_patient=12)).rows["image_id"].tolist()
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
    other = load_brats2019(tmp_path, Reading(modalities=("t1", "t2", "flair")))
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
        NO_SEGMENTATION: ("BraTS19_TMC_1_1",),
        "lacks t2, flair": ("BraTS19_TMC_2_1",),
        "neither in a folder HGG nor LGG": ("BraTS19_TMC_4_1",),
        "volume not named after a case": ("atlas.nii.gz",),
        "duplicate file": (f"copy/{HIGH}_t1.nii",),
    }
    # That the third lacks t1 matters only to those who ask for t1.
    assert set(of_cases(table)) == {HIGH, "BraTS19_TMC_3_1"}
    asked = load_brats2019(tmp_path, Reading(modalities=("t1", "t1ce", "flair")))
    assert asked.set_aside["lacks t1"] == ("BraTS19_TMC_3_1",)


def test_no_case_that_can_be_used_is_an_error(tmp_path: Path) -> None:
    touch_cases(tmp_path, {HIGH: "HGG"}, ("t1", "t2"))
    with pytest.raises(DataError, match=rf"no case .* can be used \({NO_SEGMENTATION}: {HIGH}\)"):
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


DIVIDED = {"train": (HIGH, LOW), "valid": ("BraTS19_TMC_1_1",), "test": ("BraTS19_TMC_2_1",)}


def divide(folder: Path, cases: dict[str, tuple[str, ...]] = DIVIDED) -> Path:
    for name, members in cases.items():
        for case in members:
            write_case(folder / name / ("LGG" if case == LOW else "HGG"), case)
    return folder


def test_volumes_divided_beforehand_keep_their_folders(tmp_path: Path) -> None:
    table = load_brats2019(divide(tmp_path))
    assert table.layout.startswith("BraTS2019, NIfTI volumes (folders), divided into splits, 8 ")
    assert table.set_aside == {}
    splits = table.rows.groupby("lesion_id")["split"].unique().map(list).to_dict()
    assert splits == {
        HIGH: ["train"],
        LOW: ["train"],
        "BraTS19_TMC_1_1": ["validation"],
        "BraTS19_TMC_2_1": ["test"],
    }
    store = open_store(table, side=8, cache_dir=tmp_path / "cache")
    assert split_patients(store.rows, seed=3).tolist() == table.rows["split"].tolist()


def test_a_folder_for_training_alone_divides_nothing(tmp_path: Path) -> None:
    """The release's own folder is called MICCAI_BraTS_2019_Data_Training, and people's train."""
    divide(tmp_path, {"train": (HIGH, LOW)})
    write_case(tmp_path / "HGG", "BraTS19_TMC_1_1")
    table = load_brats2019(tmp_path)
    assert "split" not in table.rows
    assert len(of_cases(table)) == 3


def test_cases_outside_the_splits_folders_are_named(tmp_path: Path) -> None:
    divide(tmp_path)
    write_case(tmp_path / "LGG", "BraTS19_2013_9_1")
    assert load_brats2019(tmp_path).set_aside == {
        "outside the folders of the splits": ("BraTS19_2013_9_1",)
    }


@pytest.mark.parametrize(
    "cases, complaint",
    [
        ({"valid": (HIGH,), "test": (LOW,)}, "in folders of splits, but none in train/HGG"),
        ({"test": (LOW,)}, "in folders of splits, but none in train/HGG"),
    ],
)
def test_divided_volumes_without_training(
    tmp_path: Path, cases: dict[str, tuple[str, ...]], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        load_brats2019(divide(tmp_path, cases))


def test_a_patient_in_two_splits_is_an_error(tmp_path: Path) -> None:
    divide(tmp_path)
    (tmp_path / "test" / "HGG" / HIGH).mkdir()
    moved = tmp_path / "train" / "HGG" / HIGH / f"{HIGH}_t2.nii.gz"
    moved.rename(tmp_path / "test" / "HGG" / HIGH / moved.name)
    with pytest.raises(DataError, match=f"case {HIGH} is in both test and train"):
        load_brats2019(tmp_path)


def test_images_that_are_no_volumes_are_named(tmp_path: Path) -> None:
    divide(tmp_path)
    write_slices(tmp_path, "train/HGG/1.png", "figures/plot.tif")
    write(tmp_path / "old" / "t1.mha", b"x")
    assert load_brats2019(tmp_path).set_aside == {
        "image beside the volumes, left alone": ("figures/plot.tif", "train/HGG/1.png"),
        "image in a format that is not read, .mha; save it as NIfTI": ("old/t1.mha",),
    }


def test_a_link_to_nothing_costs_one_case(tmp_path: Path) -> None:
    divide(tmp_path)
    link = tmp_path / "train" / "HGG" / HIGH / f"{HIGH}_t2.nii.gz"
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    assert load_brats2019(tmp_path).set_aside == {
        "lacks t2": (HIGH,),
        "link to a file that is not there": (f"train/HGG/{HIGH}/{HIGH}_t2.nii.gz",),
    }


@pytest.mark.parametrize("choice", ["brain", "all"])
def test_without_the_experts_segmentation(tmp_path: Path, choice: SliceChoice) -> None:
    """All but a border of one voxel is brain in each of the 16 slices."""
    write_case(tmp_path / "HGG", HIGH, KINDS[:-1])
    write_case(tmp_path / "LGG", LOW)
    table = load_brats2019(tmp_path, Reading(slice_choice=choice))
    assert table.set_aside == {}
    assert table.notices == ()
    assert "tumour" not in table.layout
    ids = table.rows.loc[table.rows["lesion_id"] == HIGH, "image_id"].tolist()
    count, width = (16, 2) if choice == "all" else (8, 1)
    assert ids == [f"{HIGH}-{number:0{width}d}" for number in range(1, count + 1)]
    assert len(open_store(table, side=8, cache_dir=tmp_path / "cache").images) == 2 * count
    ungraded = load_ungraded(tmp_path, Reading(slice_choice=choice))
    assert ungraded.rows["image_id"].tolist() == table.rows["image_id"].tolist()


def test_numbers_of_patients_of_the_study_and_of_the_release() -> None:
    """The paper's 255 + 76 patients, and the 259 + 76 of the official training release."""
    for high, expected in ((255, (231, 32, 68)), (259, (234, 32, 69))):
        patients = [str(number) for number in range(high + 76)]
        rows = pd.DataFrame({"lesion_id": patients, "label": ["HGG"] * high + ["LGG"] * 76})
        splits = split_patients(rows, seed=0)
        assert tuple((splits == name).sum() for name in SPLITS) == expected
