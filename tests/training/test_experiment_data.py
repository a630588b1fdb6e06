"""The data of one experiment, federated and in one place."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_partition.errors import DataError
from data_partition.splits import SPLITS
from data_partition.synthetic_isic2019 import write_isic2019
from tests.data_partition.layouts import write_images
from tests.support import make_config
from training import experiment_data, release
from training.config import ExperimentConfig
from training.data_description import describe_data
from training.division import class_notices, deal
from training.errors import ConfigError
from training.experiment_data import open_central_data, open_federated_data
from training.release import cache_dir, recognise_dataset, training_table


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


def test_classes_that_clients_lack_are_told(tmp_path: Path) -> None:
    """Of all clients together, and of one that has a single one."""
    write_images(tmp_path / "data" / "nevus", [f"n{i}" for i in range(20)])
    write_images(tmp_path / "data" / "rare", ["r0", "r1"])
    config = make_config(data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    config = config.replace(dataset="folders")
    plan = open_federated_data(config).plan
    trained = plan[plan["split"] == "train"].groupby("client")["label"].unique()
    alone = [client for client, labels in trained.items() if len(labels) == 1]
    assert alone, "with two images of a class for three clients"
    said = open_federated_data(config).store.notices[-1]
    assert said.startswith(f"training images of one class only: {alone[0]} (nevus)")
    assert class_notices({"a": [3, 0, 1], "b": [0, 0, 2]}, ("x", "y", "z")) == (
        "no client has training images of y: no model can learn to see it",
        "training images of one class only: b (z); a client learns nothing of the others from "
        "them. With a loss that counts images by class set class-counts = federation",
    )
    many = class_notices({f"c{i}": [1, 0] for i in range(5)} | {"d": [1, 1]}, ("x", "y"))
    assert "c0 (x), c1 (x), c2 (x) and 2 others;" in many[0]
    assert class_notices({"a": [1, 1]}, ("x", "y")) == ()


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
    assert recognise_dataset(config.replace(dataset="auto")).name == "ham10000"
    assert recognise_dataset(brats.replace(dataset="auto")).name == "brats2019"
    # What is named is not looked for.
    assert recognise_dataset(config.replace(dataset="brats2019")).name == "brats2019"
    with pytest.raises(DataError, match="no BraTS2019 in"):
        open_federated_data(config.replace(dataset="brats2019"))
    with pytest.raises(DataError, match="no data set that is known"):
        recognise_dataset(config.replace(dataset="auto", data_dir=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"^data-dir = '': name the folder"):
        recognise_dataset(config.replace(dataset="auto", data_dir=""))


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir(make_config(cache_dir="/somewhere")) == Path("/somewhere")
    assert cache_dir(make_config()) == tmp_path / "xdg" / "fedskin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir(make_config()) == tmp_path / ".cache" / "fedskin"


@pytest.fixture(scope="module")
def isic(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """300 images, of six centres as six clients, and some without one."""
    folder = tmp_path_factory.mktemp("isic")
    write_isic2019(folder / "data", 300)
    places = {"data_dir": str(folder / "data"), "cache_dir": str(folder / "cache")}
    config = make_config(**places, clients=6, partition="source")
    return config.replace(dataset="isic2019")


def split_file(config: ExperimentConfig) -> Path:
    return Path(config.data_dir) / "train_test_split.csv"


def test_the_published_split_chooses_the_clients_test_images(isic: ExperimentConfig) -> None:
    published = pd.read_csv(split_file(isic)).set_index("image")
    config = isic.replace(split="flamby", split_file=str(split_file(isic)))
    data = open_federated_data(config)
    plan = data.plan.set_index("image_id")
    assert set(plan.index) == set(published.index)
    assert plan.index[plan["split"] == "test"].tolist() == sorted(
        published.index[published["fold"] == "test"]
    )
    # Of the n others, floor((3n + 2) / 4) are for training: 60 and 20 of all.
    for _, held in plan.groupby("client"):
        others = len(held) - (held["split"] == "test").sum()
        assert (held["split"] == "train").sum() == (3 * others + 2) // 4
    trained = set(plan["lesion_id"][plan["split"] != "test"])
    leaking = plan["lesion_id"][plan["split"] == "test"].isin(trained).sum()
    assert leaking > 0
    notice = data.store.notices[0]
    assert notice.startswith(f"split = flamby: {leaking} of the clients' ")


def test_images_that_the_split_file_does_not_name(isic: ExperimentConfig, tmp_path: Path) -> None:
    published = pd.read_csv(split_file(isic))
    published[5:].to_csv(tmp_path / "split.csv", index=False)
    data = open_federated_data(isic.replace(split="flamby", split_file=str(tmp_path / "split.csv")))
    left = tuple(sorted(published["image"][:5]))
    assert data.store.set_aside["image that the split file does not name"] == left
    assert describe_data(isic, data, None)["images"] == len(published) - 5


def test_no_lesion_is_on_two_sides(isic: ExperimentConfig) -> None:
    """With as many test images as the published split has, give or take one lesion at a centre."""
    data = open_federated_data(isic.replace(split="lesion-clean"))
    plan = data.plan
    assert (plan.groupby("lesion_id")[["client", "split"]].nunique() == 1).all(axis=None)
    assert not any("lesion" in notice for notice in data.store.notices)
    published = (
        pd.read_csv(split_file(isic)).groupby("center")["fold"].agg(lambda f: sum(f == "test"))
    )
    sizes = plan[plan["split"] == "test"].groupby("source").size()
    for number, centre in enumerate(["BCN", "vidir_molemax", "vidir_modern", "rosendahl"]):
        assert abs(sizes[centre] - published[number]) <= 2


def test_without_lesion_ids_images_that_look_alike_stay_together(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two of three images are made to look alike; the hashes have tests of their own."""
    config, asked = config.replace(cache_dir=str(tmp_path)), []

    def near_groups(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        asked.append(images)
        return np.arange(len(chosen)) // 3 * 3

    monkeypatch.setattr("data_partition.near_duplicates.near_groups", near_groups)
    table = training_table(config)
    clean = config.replace(split="lesion-clean")
    assert set(deal(clean, table)["split"]) == set(SPLITS)  # of a table, by what it says
    store = release.open_training(config)
    rows = store.rows.assign(lesion_id=None)
    monkeypatch.setattr(
        experiment_data, "open_training", lambda *_, **__: experiment_data.replace(store, rows=rows)
    )
    data = open_federated_data(clean)
    places = data.plan[["client", "split"]].agg(" ".join, axis=1)
    assert (places.groupby(np.arange(30) // 3).nunique() == 1).all()
    notice = data.store.notices[0]
    assert notice.startswith("split = lesion-clean: 30 images (")
    # Other pixels may look alike otherwise: what is kept is of one input.
    for way in ("study", "square"):
        open_federated_data(clean.replace(input=way))
    assert len(asked) == 2


def test_another_split_file_is_other_data(isic: ExperimentConfig) -> None:
    """A run that began with one is not continued with the other."""
    path = split_file(isic)
    text = path.read_text(encoding="utf-8")
    flamby = isic.replace(split="flamby", split_file=str(path))
    one = open_federated_data(flamby).store.fingerprint
    assert one == experiment_data.data_facts(flamby).fingerprint
    assert one != open_federated_data(isic).store.fingerprint
    path.write_text(text.replace(",train,", ",test,", 1), encoding="utf-8")
    try:
        assert open_federated_data(flamby).store.fingerprint != one
    finally:
        path.write_text(text, encoding="utf-8")


def test_a_split_file_is_for_federations(isic: ExperimentConfig) -> None:
    config = isic.replace(split="flamby", split_file=str(split_file(isic)))
    with pytest.raises(ConfigError, match=r"split-file = .*: allowed in federations only"):
        open_central_data(config)
    with pytest.raises(ConfigError, match=r"split = 'flamby': name its train_test_split\.csv"):
        isic.replace(split="flamby")
    with pytest.raises(ConfigError, match=r"split-file = 'x': allowed with split = flamby"):
        isic.replace(split_file="x")


def test_the_input_decides_about_the_pixels(config: ExperimentConfig) -> None:
    """The synthetic images are 200 x 150 pixels, so a square in the middle differs."""
    ways = ("study", "square", "shades-of-grey", "flamby")
    stores = [release.open_training(config.replace(input=way)) for way in ways]
    assert len({store.fingerprint for store in stores}) == 1
    assert len({store.images.tobytes() for store in stores}) == 4


def test_slices_have_no_other_input(brats: ExperimentConfig) -> None:
    with pytest.raises(DataError, match="input = flamby: for photographs only"):
        release.open_training(brats.replace(input="flamby"))
