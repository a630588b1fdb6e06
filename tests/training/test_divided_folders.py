"""Data folders that come divided into training, validation and test."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from data_partition.brats2019_volumes import ORACLE
from data_partition.errors import DataError
from data_partition.splits import SPLITS
from tests.data_partition.layouts import write, write_images
from tests.support import make_config
from training.config import ExperimentConfig
from training.data_description import describe_data
from training.experiment_data import open_central_data, open_federated_data, open_test_data
from training.split import Split


def write_slices(folder: Path, splits: Iterable[str]) -> ExperimentConfig:
    """Two patients of each grade, with two slices each, in each split."""
    for split in splits:
        for grade in ("HGG", "LGG"):
            names = [
                f"BraTS19_{split}_{grade}{patient}_1-{number}"
                for patient in range(2)
                for number in range(2)
            ]
            write_images(folder / "data" / split / grade, names, ".png")
    config = make_config(clients=1, data_dir=str(folder / "data"), cache_dir=str(folder / "cache"))
    return config.replace(dataset="brats2019")


def test_splits_that_folders_give(tmp_path: Path) -> None:
    config = write_slices(tmp_path, ("train", "valid", "test"))
    central, test_data = open_central_data(config), open_test_data(config)
    assert test_data is not None

    def folders(split: Split) -> set[str]:
        return set(central.store.rows["source"].iloc[split.indices])

    assert folders(central.split("train")) == {"train"}
    assert folders(central.split("validation")) == {"valid"}
    assert folders(test_data.split) == {"test"}
    # A federation divides training and validation among clients, and splits them again.
    data = open_federated_data(config)
    assert sum(len(data.split("client-0", name)) for name in SPLITS) == 16
    assert set(data.plan["source"][data.plan["client"].notna()]) == {"train", "valid"}


def test_folders_that_lack_a_split(tmp_path: Path) -> None:
    config = write_slices(tmp_path, ("train",))
    assert open_test_data(config) is None
    assert open_federated_data(config).plan["client"].notna().all()
    with pytest.raises(DataError, match="leaves no image for validation"):
        open_central_data(config)


def test_images_in_a_folder_for_validation(tmp_path: Path) -> None:
    """One place validates on them; a federation deals them out with the others."""
    for split, count in (("train", 12), ("val", 4), ("test", 3)):
        for label in ("nv", "mel"):
            names = [f"{split}_{label}_{number}" for number in range(count)]
            write_images(tmp_path / "data" / split / label, names)
    config = make_config(
        clients=2, data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache")
    )
    central, test_data = open_central_data(config), open_test_data(config)
    assert test_data is not None
    assert len(test_data.rows) == 6
    ids = central.store.rows["image_id"]
    assert (central.split_names == "validation").tolist() == ids.str.startswith("val_").tolist()
    assert set(central.split_names) == {"train", "validation"}
    plan = open_federated_data(config).plan
    assert len(plan) == 32
    assert plan["client"].notna().all()
    notice, absent = describe_data(config, central, test_data)["notices"]
    assert notice.startswith("8 images are in a validation folder")
    assert absent.endswith("BACC is the mean recall of the other 2 classes")


def test_a_lesion_in_both_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", ["a", "b", "c"])
    write_images(tmp_path / "data" / "val", ["d"])
    rows = "".join(f"HAM_{lesion},{name},nv\n" for name, lesion in zip("abcd", "1232", strict=True))
    (tmp_path / "data" / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\n" + rows)
    config = make_config(data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    names = open_central_data(config).split_names.tolist()
    assert names == ["train", "train", "train", "validation"]
    with pytest.raises(
        DataError,
        match="split-by = lesion: lesion HAM_2 has images, or copies of them, for validation",
    ):
        open_central_data(config.replace(split_by="lesion"))


def test_a_copy_in_both_folders(tmp_path: Path) -> None:
    """Of another lesion by its table: identical pixels count as one lesion."""
    write_images(tmp_path / "data" / "train", ["a", "b", "c"])
    write(tmp_path / "data" / "val" / "d.jpg", (tmp_path / "data/train/b.jpg").read_bytes())
    rows = "".join(f"HAM_{name},{name},nv\n" for name in "abcd")
    (tmp_path / "data" / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\n" + rows)
    config = make_config(data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    open_central_data(config)
    with pytest.raises(DataError, match="lesion HAM_b has images, or copies of them, for valid"):
        open_central_data(config.replace(split_by="lesion"))


def test_lesions_that_nobody_names_cannot_be_kept_together(tmp_path: Path) -> None:
    write_images(tmp_path / "data", ["a", "b", "c", "d", "e"])
    rows = "".join(f"{name},nv\n" for name in "abcde")
    (tmp_path / "data" / "HAM10000_metadata.csv").write_text("image_id,dx\n" + rows)
    config = make_config(data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    open_central_data(config)
    with pytest.raises(DataError, match=r"split-by = lesion needs lesion ids, which .* does not"):
        open_central_data(config.replace(split_by="lesion"))


def test_volumes_that_come_divided(brats: ExperimentConfig, tmp_path: Path) -> None:
    """A patient of each grade in each folder of a copy of the release."""
    for grade in ("HGG", "LGG"):
        cases = sorted(Path(brats.data_dir).glob(f"**/{grade}/*"))[:3]
        for case, split in zip(cases, ("train", "valid", "test"), strict=True):
            place = tmp_path / "data" / split / grade
            place.mkdir(parents=True)
            (place / case.name).symlink_to(case)
    config = brats.replace(data_dir=str(tmp_path / "data"), clients=1, min_replies=1)
    central, test_data = open_central_data(config), open_test_data(config)
    assert test_data is not None
    tested = set(test_data.rows["lesion_id"])
    assert tested == {path.name for path in (tmp_path / "data" / "test").glob("*/*")}
    assert len(central.split("train")) == len(central.split("validation")) == 4
    assert not tested & set(central.store.rows["lesion_id"][central.split_names != "test"])
    plan = open_federated_data(config).plan
    assert set(plan["lesion_id"][plan["client"].isna()]) == tested
    assert describe_data(config, central, test_data)["notices"] == [ORACLE]


def test_slices_of_unknown_patients(tmp_path: Path) -> None:
    config = write_slices(tmp_path, ("train", "test"))
    for number, path in enumerate(sorted((tmp_path / "data").rglob("*.png"))):
        path.rename(path.with_name(f"{number}.png"))
    split = open_federated_data(config).split("client-0", "train")
    assert split.patients is None
    assert len(split) == 5  # of eight, ⌊(6 · 8 + 5)/10⌋
