import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_partition.brats2019_volumes import ORACLE
from data_partition.errors import DataError
from data_partition.splits import SPLITS
from data_partition.synthetic_brats2019 import write_brats2019
from tests.data_partition.layouts import write_images
from tests.support import make_config
from training.config import ExperimentConfig
from training.data_description import describe_data
from training.errors import ConfigError
from training.experiment_data import (
    cache_dir,
    open_central_data,
    open_federated_data,
    open_test_data,
    recognise,
)
from training.split import Split


@pytest.fixture
def config(synthetic_ham: Path) -> ExperimentConfig:
    """Three clients with ten images each; the store is built by the first test."""
    cache = synthetic_ham.parent / "cache"
    return make_config(data_dir=str(synthetic_ham), cache_dir=str(cache))


def test_the_clients_splits_are_disjoint_and_cover_the_release(config: ExperimentConfig) -> None:
    data = open_federated_data(config)
    splits = {
        (client, name): data.split(f"client-{client}", name)
        for client in range(3)
        for name in SPLITS
    }
    # 30 images over three clients, each 10 as 6, 2 and 2.
    assert [len(split) for split in splits.values()] == [6, 2, 2] * 3
    rows = np.concatenate([split.indices for split in splits.values()])
    assert sorted(rows) == list(range(30))


def test_the_plan_is_in_the_stores_order(config: ExperimentConfig) -> None:
    data = open_federated_data(config)
    assert data.plan["image_id"].tolist() == data.store.rows["image_id"].tolist()
    split = data.split("client-1", "train")
    chosen = data.plan.iloc[split.indices]
    assert set(chosen["client"]) == {"client-1"}
    assert set(chosen["split"]) == {"train"}
    names = [data.store.classes[label] for label in split.labels[split.indices]]
    assert names == chosen["label"].tolist()


def test_an_unknown_client_holds_nothing(config: ExperimentConfig) -> None:
    assert len(open_federated_data(config).split("client-3", "train")) == 0


def test_settings_reach_the_partition(config: ExperimentConfig) -> None:
    plan = open_federated_data(config).plan
    assert not open_federated_data(config.replace(seed=1)).plan.equals(plan)
    assert set(open_federated_data(config.replace(clients=2)).plan["client"]) == {
        "client-0",
        "client-1",
    }
    by_lesion = open_federated_data(config.replace(split_by="lesion")).plan
    assert (by_lesion.groupby("lesion_id")["client"].nunique() == 1).all()


def test_images_are_stored_at_the_studys_ratio(config: ExperimentConfig) -> None:
    """32 · 256/224 = 36.57, rounded."""
    assert open_federated_data(config).store.images.shape == (30, 37, 37, 3)


def test_a_store_is_built_once(config: ExperimentConfig, tmp_path: Path) -> None:
    fresh, calls = config.replace(cache_dir=str(tmp_path)), []
    for _ in range(2):
        open_federated_data(fresh, lambda done, total: calls.append((done, total)))
    assert calls == [(done, 30) for done in range(1, 31)]


def test_without_a_data_folder_the_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^data-dir = '': name the folder"):
        open_federated_data(make_config())


def test_a_folder_that_is_not_there(config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        open_federated_data(config.replace(data_dir=str(tmp_path / "nowhere")))


def test_the_test_set_beside_the_training_set(config: ExperimentConfig) -> None:
    """A third of the images would be ten, but every test set has at least ten of each class."""
    test_data = open_test_data(config)
    assert test_data is not None
    assert len(test_data.split) == len(test_data.rows) == 70
    assert test_data.split.indices.tolist() == list(range(70))
    assert sorted(set(test_data.split.labels)) == list(range(7))
    assert test_data.split.patients is None
    assert len(test_data.rows) == 70
    training = open_federated_data(config).store
    assert not set(test_data.rows["image_id"]) & set(training.rows["image_id"])


def test_without_a_test_set_there_is_none(config: ExperimentConfig, tmp_path: Path) -> None:
    data_dir = tmp_path / "ham"
    shutil.copytree(
        config.data_dir, data_dir, ignore=shutil.ignore_patterns("ISIC2018_Task3_Test*")
    )
    alone = config.replace(data_dir=str(data_dir))
    assert open_test_data(alone) is None
    assert len(open_federated_data(alone).store.labels) == 30
    # Named elsewhere it is found, and must be there.
    elsewhere = alone.replace(test_dir=config.data_dir)
    found = open_test_data(elsewhere)
    assert found is not None
    assert len(found.split) == 70
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no test images"):
        open_test_data(alone.replace(test_dir=str(empty)))


def test_test_images_in_training_are_refused_unless_allowed(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """One is a copy by its file, one shows a lesion of the training set."""
    data_dir = tmp_path / "ham"
    shutil.copytree(config.data_dir, data_dir)
    copied = next(data_dir.glob("HAM10000_images*/*.jpg"))
    target, other = sorted(data_dir.glob("ISIC2018_Task3_Test_Input/*.jpg"))[:2]
    shutil.copyfile(copied, target)
    twice = config.replace(data_dir=str(data_dir), cache_dir=str(tmp_path))
    allowed = open_test_data(twice.replace(allow_overlap=True))
    with pytest.raises(DataError, match=f"1 of 70 .*{target.stem}: same file as {copied.stem}"):
        open_test_data(twice)
    assert allowed is not None
    assert allowed.overlap is not None
    assert list(allowed.overlap.matches) == [target.stem]
    # The challenge's truth names no lesions; as Dataverse publishes it, it does.
    assert not allowed.overlap.lesions_known
    lesions = pd.read_csv(data_dir / "HAM10000_metadata.csv").set_index("image_id")["lesion_id"]
    truth = allowed.rows[["image_id", "label"]].rename(columns={"label": "dx"})
    truth["lesion_id"] = [f"other {number}" for number in range(len(truth))]
    truth.loc[truth["image_id"] == other.stem, "lesion_id"] = lesions[copied.stem]
    [path] = data_dir.rglob("ISIC2018_Task3_Test_GroundTruth.csv")
    truth.to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"2 of 70 .*{other.stem}: same lesion as "):
        open_test_data(twice)


def test_the_training_folder_is_no_test_set(config: ExperimentConfig, tmp_path: Path) -> None:
    """The same images in a second folder without a telling name."""
    for folder in ("data", "judged"):
        write_images(tmp_path / folder / "nv", [str(number) for number in range(4)])
    same = config.replace(
        data_dir=str(tmp_path / "data"),
        test_dir=str(tmp_path / "judged"),
        cache_dir=str(tmp_path),
        allow_overlap=True,
    )
    data, test_data = open_central_data(same), open_test_data(same)
    assert test_data is not None
    found = describe_data(same, data, test_data)
    assert found["overlap"]["by_reason"] == {"same id": 4}
    assert (found["images"], found["test_images"]) == (4, 4)


def test_copies_are_told_with_where_they_are(config: ExperimentConfig, tmp_path: Path) -> None:
    """Ten images of nv are as many of mel; none of the pairs is split where lesions are kept."""
    names = [f"{number:02}" for number in range(10)]
    write_images(tmp_path / "train" / "nv", names)
    for name in names:
        target = tmp_path / "train" / "mel" / f"m{name}.jpg"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(tmp_path / "train" / "nv" / f"{name}.jpg", target)
    folders = config.replace(data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    described = describe_data(folders, open_federated_data(folders), None)["copies"]
    assert described["groups"] == [(name, f"m{name}") for name in names]
    assert described["contradicting"] == 10
    assert described["straddling"] > 5
    central = describe_data(folders, open_central_data(folders), None)["copies"]
    assert 0 < central["straddling"] < described["straddling"]


def test_a_release_in_one_place(config: ExperimentConfig) -> None:
    """⌊(8 · 30 + 5)/10⌋ = 24 of 30 images are for training."""
    data = open_central_data(config)
    splits = [data.split(name) for name in ("train", "validation")]
    assert [len(split) for split in splits] == [24, 6]
    assert sorted(np.concatenate([split.indices for split in splits])) == list(range(30))
    other = open_central_data(config.replace(seed=1)).split("train")
    assert other.indices.tolist() != splits[0].indices.tolist()


def test_lesions_stay_together_in_one_place_too(config: ExperimentConfig) -> None:
    data = open_central_data(config.replace(split_by="lesion"))
    rows = data.store.rows.assign(split=data.split_names)
    assert (rows.groupby("lesion_id")["split"].nunique() == 1).all()


def test_recognition(config: ExperimentConfig, brats: ExperimentConfig, tmp_path: Path) -> None:
    assert recognise(config.replace(dataset="auto")) == "ham10000"
    assert recognise(brats.replace(dataset="auto")) == "brats2019"
    # What is named is not looked for.
    assert recognise(config.replace(dataset="brats2019")) == "brats2019"
    with pytest.raises(DataError, match="no BraTS2019 in"):
        open_federated_data(config.replace(dataset="brats2019"))
    with pytest.raises(DataError, match="no data set that is known"):
        recognise(config.replace(dataset="auto", data_dir=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"^data-dir = '': name the folder"):
        recognise(config.replace(dataset="auto", data_dir=""))


@pytest.fixture(scope="module")
def brats(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """19 patients of high grade and 5 of low, with two slices each."""
    folder = tmp_path_factory.mktemp("brats")
    write_brats2019(folder / "data", patients=24)
    config = make_config(
        slices_per_patient=2, data_dir=str(folder / "data"), cache_dir=str(folder / "cache")
    )
    return config.replace(dataset="brats2019")


def patients_of(split: Split) -> set[int]:
    assert split.patients is not None
    return set(split.patients[split.indices])


def test_no_patient_straddles_clients_splits_or_the_test_set(brats: ExperimentConfig) -> None:
    """7:1:2 of 19 and of 5 leaves 19 - 13 - 1 = 5 and 5 - 3 - 0 = 2 for the global test."""
    data, test_data = open_federated_data(brats), open_test_data(brats)
    assert test_data is not None
    parts = [
        patients_of(data.split(f"client-{client}", name)) for client in range(3) for name in SPLITS
    ]
    parts.append(patients_of(test_data.split))
    assert len(parts[-1]) == 7
    assert sum(map(len, parts)) == len(set.union(*parts)) == 24
    assert len(data.store.labels) == len(data.plan) == 48
    assert data.plan["image_id"].tolist() == data.store.rows["image_id"].tolist()
    assert data.plan["client"].notna().sum() == 34
    # The patients' numbers tell them apart as their names do.
    names = data.store.rows["lesion_id"]
    numbers = data.split("client-0", "train").patients
    assert numbers is not None
    assert pd.Series(numbers).groupby(names).nunique().eq(1).all()
    assert len(set(numbers)) == names.nunique() == 24


def test_both_kinds_of_experiment_have_the_same_test_patients(brats: ExperimentConfig) -> None:
    central, test_data = open_central_data(brats), open_test_data(brats)
    assert test_data is not None
    train, validation = (patients_of(central.split(name)) for name in ("train", "validation"))
    # ⌊0.7 · 19⌋ + ⌊0.7 · 5⌋ = 13 + 3, and ⌊1.9⌋ + ⌊0.5⌋ = 1.
    assert (len(train), len(validation)) == (16, 1)
    assert not (train | validation) & patients_of(test_data.split)
    plan = open_federated_data(brats).plan
    assert set(plan["image_id"][plan["client"].isna()]) == set(test_data.rows["image_id"])
    assert test_data.classes == ("HGG", "LGG")
    labels = test_data.split.labels[test_data.split.indices]
    assert [test_data.classes[label] for label in labels] == list(test_data.rows["label"])
    assert test_data.fingerprint == central.store.fingerprint
    assert test_data.set_aside == {}


def test_another_seed_has_other_test_patients(brats: ExperimentConfig) -> None:
    first, second = open_test_data(brats), open_test_data(brats.replace(seed=1))
    assert first is not None
    assert second is not None
    assert patients_of(first.split) != patients_of(second.split)


def test_a_client_for_each_site(brats: ExperimentConfig) -> None:
    data = open_federated_data(brats.replace(partition="source", clients=4))
    dealt = data.plan.dropna(subset="client")
    assert (dealt.groupby("client")["source"].nunique() == 1).all()
    with pytest.raises(DataError, match=r"4 sources .* but clients = 3"):
        open_federated_data(brats.replace(partition="source"))


def test_modalities_and_slices_reach_the_store(brats: ExperimentConfig) -> None:
    first = open_federated_data(brats).store
    other = open_federated_data(brats.replace(modalities="flair,t2,t1ce")).store
    assert np.array_equal(first.images[..., ::-1], other.images)
    more = open_federated_data(brats.replace(slices_per_patient=3)).store
    assert len(more.labels) == 24 * 3


def test_a_test_folder_beside_brats_is_refused(brats: ExperimentConfig, tmp_path: Path) -> None:
    wrong = brats.replace(test_dir=str(tmp_path))
    for use in (recognise, open_federated_data, open_central_data, open_test_data):
        with pytest.raises(ConfigError, match=r"^test-dir = .*; leave test-dir empty$"):
            use(wrong)


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
    [notice] = describe_data(config, central, test_data)["notices"]
    assert notice.startswith("8 images are in a validation folder")


def test_a_lesion_in_both_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", ["a", "b", "c"])
    write_images(tmp_path / "data" / "val", ["d"])
    rows = "".join(f"HAM_{lesion},{name},nv\n" for name, lesion in zip("abcd", "1232", strict=True))
    (tmp_path / "data" / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\n" + rows)
    config = make_config(data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    names = open_central_data(config).split_names.tolist()
    assert names == ["train", "train", "train", "validation"]
    with pytest.raises(DataError, match="split-by = lesion: lesion HAM_2 has images in the folder"):
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


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir(make_config(cache_dir="/somewhere")) == Path("/somewhere")
    assert cache_dir(make_config()) == tmp_path / "xdg" / "fedskin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir(make_config()) == tmp_path / ".cache" / "fedskin"
