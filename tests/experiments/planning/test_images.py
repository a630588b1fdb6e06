"""The images of a plan are those that a run will find, before any is decoded."""

from pathlib import Path

import pytest

from data_partition.errors import DataError
from data_partition.partition import split_counts
from data_partition.splits import SPLITS
from experiments.planning.images import (
    ClientImages,
    ImageCounts,
    count_images,
    divide,
    store_bytes,
)
from training.config import parse
from training.experiment_data import open_central_data, open_federated_data, open_test_data


def test_without_a_folder_the_images_are_the_studys() -> None:
    """HAM10000: 10,015 and 1,512. BraTS2019: 231 + 32 and 68 patients, 8 slices of each."""
    ham = parse({"dataset": "ham10000"})
    brats = parse({"dataset": "brats2019"})
    for part, training, test in ((ham, 10_015, 1_512), (brats, 263 * 8, 68 * 8)):
        for command in ("simulate", "clip"):
            found = count_images(command, part)
            assert (found.test, found.stored, found.counted) == (test, training + test, False)
            assert found.training == pytest.approx(training)


@pytest.mark.parametrize("dataset", ["ham10000", "brats2019"])
def test_images_are_counted_as_a_run_will_find_them(
    dataset: str, synthetic_ham: Path, synthetic_brats: Path, tmp_path: Path
) -> None:
    """But for the slices of thin tumours that a run finds twice, and sets aside."""
    folder = synthetic_ham if dataset == "ham10000" else synthetic_brats
    run = parse({"data-dir": str(folder), "cache-dir": str(tmp_path), "image-size": 32})
    before = divide("clip", run)
    found = before.counts
    central, test_set = open_central_data(run), open_test_data(run)
    assert test_set is not None
    assert found.counted
    (client,) = found.clients
    for split in ("train", "validation"):
        held = len(central.split(split))
        assert getattr(client, split) == pytest.approx(held, rel=0.05)
    assert found.test == pytest.approx(len(test_set.split), rel=0.05)
    room = central.store.images.nbytes
    if dataset == "ham10000":  # BraTS2019's test patients are in the same store
        room += test_set.split.images.nbytes
    assert store_bytes(32, found.stored) == pytest.approx(room, rel=0.05)
    # Now they are decoded, and nothing of it is left to do.
    assert len(before.to_decode) == (2 if dataset == "ham10000" else 1)
    assert not divide("clip", run).to_decode


def test_clients_hold_what_a_run_gives_them(synthetic_ham: Path, tmp_path: Path) -> None:
    """Class by class and split by split, as a federated run divides the decoded images."""
    keys = {"data-dir": str(synthetic_ham), "cache-dir": str(tmp_path), "image-size": 32}
    run = parse({**keys, "partition": "source", "clients": 4, "split-by": "lesion"})
    found = divide("simulate", run)
    data = open_federated_data(run)
    assert found.table.equals(split_counts(data.plan))
    sizes = [[len(data.split(f"client-{i}", split)) for split in SPLITS] for i in range(4)]
    assert [[c.train, c.validation, c.test] for c in found.counts.clients] == sizes
    assert found.counts.test == 70
    assert found.sources == {f"client-{i}": data.source(f"client-{i}") for i in range(4)}


def test_a_source_that_is_left_out_is_counted_apart(synthetic_ham: Path, tmp_path: Path) -> None:
    keys = {"data-dir": str(synthetic_ham), "cache-dir": str(tmp_path), "partition": "source"}
    with pytest.raises(DataError) as all_sources:
        count_images("simulate", parse({**keys, "clients": 9}))
    source = str(all_sources.value).split("(")[1].split(",")[0]
    found = count_images("simulate", parse({**keys, "clients": 3, "leave-out": source}))
    assert found.left_out > 0
    assert found.training + found.left_out == 30


def test_a_training_set_without_a_test_set_counts(synthetic_ham: Path, tmp_path: Path) -> None:
    for name in ("HAM10000_metadata.csv", "HAM10000_images_part_1", "HAM10000_images_part_2"):
        (tmp_path / name).symlink_to(synthetic_ham / name)
    found = count_images("clip", parse({"data-dir": str(tmp_path)}))
    assert found == ImageCounts((ClientImages(24, 6, 0),), stored=30, test=0)


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path / "none")):
        count_images("clip", parse({"data-dir": str(tmp_path / "none"), "dataset": "ham10000"}))
