"""The source that ``leave-out`` names: at no client, and a test set of its own."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from data_partition.errors import DataError
from data_partition.synthetic_ham10000 import write_ham10000
from tests.support import make_config
from training.config import ExperimentConfig
from training.data_description import describe_data, left_out_name
from training.errors import ConfigError
from training.experiment_data import open_federated_data, open_left_out, open_test_data
from training.preparation import outline_data

LEFT = "vidir_modern"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of four sources."""
    folder = tmp_path_factory.mktemp("release")
    write_ham10000(folder / "ham", images=60, seed=0)
    return folder


@pytest.fixture
def config(release: Path) -> ExperimentConfig:
    return make_config(
        data_dir=str(release / "ham"),
        cache_dir=str(release / "cache"),
        partition="source",
        clients=3,
        leave_out=LEFT,
    )


def test_it_is_judged_and_trains_nobody(config: ExperimentConfig) -> None:
    data = open_federated_data(config)
    left_out = open_left_out(config, data)
    assert left_out is not None
    table = pd.read_csv(Path(config.data_dir) / "HAM10000_metadata.csv")
    theirs = set(table["image_id"][table["dataset"] == LEFT])
    assert set(left_out.rows["image_id"]) == theirs
    assert left_out.split.labels[left_out.split.indices].tolist() == [
        data.store.classes.index(label) for label in left_out.rows["label"]
    ]
    held = data.plan[data.plan["client"].notna()]
    assert set(held["image_id"]) == set(table["image_id"]) - theirs
    assert [data.source(f"client-{index}") for index in range(3)] == sorted(
        set(table["dataset"]) - {LEFT}
    )
    # Each client's split is what it is without the others, by its number.
    assert set(held["split"]) == {"train", "validation", "test"}


def test_it_is_found_where_only_the_split_file_names_sources(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """A table of HAM10000 without its column ``dataset``, as Kaggle has it."""
    data = Path(shutil.copytree(config.data_dir, tmp_path / "data"))
    table = pd.read_csv(data / "HAM10000_metadata.csv")
    centres = {"vidir_molemax": 1, "vidir_modern": 2, "rosendahl": 3, "vienna_dias": 5}
    table.drop(columns="dataset").to_csv(data / "HAM10000_metadata.csv", index=False)
    split = pd.DataFrame({"image": table["image_id"], "center": table["dataset"].map(centres)})
    split["fold"] = split["fold2"] = "train"
    split.to_csv(tmp_path / "train_test_split.csv", index=False)
    named = {"split": "lesion-clean", "split_file": str(tmp_path / "train_test_split.csv")}
    there = config.replace(data_dir=str(data), **named)
    left_out = open_left_out(there, open_federated_data(there))
    assert left_out is not None
    assert set(left_out.rows["image_id"]) == set(table["image_id"][table["dataset"] == LEFT])


def test_the_global_test_set_stays(config: ExperimentConfig) -> None:
    everyone = config.replace(leave_out="", clients=4)
    assert open_left_out(everyone, open_federated_data(everyone)) is None
    ours, theirs = open_test_data(config), open_test_data(everyone)
    assert ours is not None
    assert theirs is not None
    pd.testing.assert_frame_equal(ours.rows, theirs.rows)


def test_the_manifest_says_so(config: ExperimentConfig) -> None:
    data, test_data = open_federated_data(config), open_test_data(config)
    left_out = open_left_out(config, data)
    found = describe_data(config, data, test_data, left_out)
    assert left_out is not None
    num_left = len(left_out.split)
    assert (found["images"], found["left_out"]["images"]) == (60 - num_left, num_left)
    assert found["left_out"]["source"] == LEFT
    assert found["left_out"]["overlap"]["in_training"] == 0
    assert "left_out" not in describe_data(config, data, test_data)
    assert left_out_name({"source": LEFT}) == f"left out: {LEFT}"


def test_a_lesion_at_a_client_is_refused_or_left_out_whole(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """One lesion's images come from two sources."""
    shutil.copytree(config.data_dir, tmp_path / "ham")
    path = tmp_path / "ham" / "HAM10000_metadata.csv"
    table = pd.read_csv(path)
    left = table.index[table["dataset"] == LEFT][0]
    other = table.index[table["dataset"] != LEFT][0]
    table.loc[other, "lesion_id"] = table.loc[left, "lesion_id"]
    table.to_csv(path, index=False)
    twice = config.replace(data_dir=str(tmp_path / "ham"), cache_dir=str(tmp_path / "cache"))
    data = open_federated_data(twice)
    with pytest.raises(DataError, match=r"same lesion as .*split-by = lesion, or evaluate"):
        open_left_out(twice, data)
    allowed = open_left_out(twice.replace(allow_overlap=True), data)
    assert allowed is not None
    assert allowed.overlap is not None
    assert table.loc[left, "image_id"] in allowed.overlap.matches
    together = twice.replace(split_by="lesion")
    data = open_federated_data(together)
    found = open_left_out(together, data)
    assert found is not None
    assert found.overlap is not None
    assert len(found.overlap) == 0
    [aside] = [ids for reason, ids in data.store.set_aside.items() if "left out" in reason]
    assert table.loc[other, "image_id"] in aside


def test_what_is_refused(config: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"^leave-out = 'vidir_modern': .*partition = 'iid'$"):
        config.replace(partition="iid")
    with pytest.raises(ConfigError, match=r"allowed in federations only; .*strategy = pooled"):
        outline_data(config, federated=False)
    with pytest.raises(DataError, match=r"3 sources .* but clients = 4; set clients = 3"):
        outline_data(config.replace(clients=4), federated=True)
    with pytest.raises(DataError, match="leave-out = 'MSK': no such source; there are rosendahl, "):
        outline_data(config.replace(leave_out="MSK"), federated=True)


def test_a_data_set_without_sources(config: ExperimentConfig, tmp_path: Path) -> None:
    shutil.copytree(config.data_dir, tmp_path / "ham")
    path = tmp_path / "ham" / "HAM10000_metadata.csv"
    pd.read_csv(path).drop(columns="dataset").to_csv(path, index=False)
    with pytest.raises(DataError, match="partition = source needs the metadata's column dataset"):
        outline_data(config.replace(data_dir=str(tmp_path / "ham")), federated=True)
