"""BraTS2019 as slices that are already cut."""

from pathlib import Path

import pytest

from data_partition.dataset_brats2019 import load_brats2019
from data_partition.errors import DataError
from data_partition.image_store import open_store
from tests.data_partition.volumes import HIGH, LOW, touch_cases, write_slices


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
