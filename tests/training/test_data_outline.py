"""Missing data are reported before any image is decoded."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from data_partition.axial_slices import AxialSlices
from data_partition.brats2019_volumes import ORACLE
from data_partition.errors import DataError
from data_partition.image_reader import Photographs
from tests.data_partition import layouts
from tests.support import make_config
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.preparation import outline_data


@pytest.fixture(autouse=True)
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(Photographs, "decode", refuse)
    monkeypatch.setattr(AxialSlices, "decode", refuse)


def config_of(folder: Path, **changes: Any) -> ExperimentConfig:
    return make_config(data_dir=str(folder), cache_dir=str(folder / "no cache"), **changes)


def test_what_is_known_beforehand(synthetic_ham: Path, synthetic_brats: Path) -> None:
    for federated in (True, False):
        found = outline_data(config_of(synthetic_ham), federated=federated, needs_test=True)
        assert (len(found.classes), found.notices) == (7, ())
        brain = config_of(synthetic_brats).replace(dataset="brats2019")
        found = outline_data(brain, federated=federated, needs_test=True)
        assert (found.classes, found.notices) == (("HGG", "LGG"), (ORACLE,))


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"partition": "source", "clients": 3}, "4 sources .* but clients = 3"),
        ({"clients": 9}, "9 clients are more than the 8 images"),
        ({"clients": 8}, "would have 1 training images"),
    ],
)
def test_images_that_cannot_be_dealt(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    layouts.dataverse(tmp_path)
    with pytest.raises(DataError, match=complaint):
        outline_data(config_of(tmp_path, **changes), federated=True)
    outline_data(config_of(tmp_path, **changes), federated=False)


def test_lesions_and_sources_that_nobody_knows(tmp_path: Path) -> None:
    layouts.challenge(tmp_path)
    with pytest.raises(DataError, match="split-by = lesion needs lesion ids"):
        outline_data(config_of(tmp_path, split_by="lesion"), federated=True)
    with pytest.raises(DataError, match="partition = source needs"):
        outline_data(config_of(tmp_path, partition="source"), federated=True)


def test_shares_are_not_drawn_before_it_is_known_who_is_there(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    config = config_of(tmp_path, partition="dirichlet", dirichlet_alpha=0.01)
    assert (
        outline_data(config, federated=True).classes
        == outline_data(config, federated=False).classes
    )


def test_nothing_left_for_validation(tmp_path: Path) -> None:
    layouts.class_tree(tmp_path / "train", {"a": "nv"})
    with pytest.raises(DataError, match="leaves no image for validation"):
        outline_data(config_of(tmp_path), federated=False)


def test_no_test_set(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    outline_data(config_of(tmp_path), federated=False)
    with pytest.raises(
        ConfigError, match="evaluated on a test set, and there is none; set test-dir"
    ):
        outline_data(config_of(tmp_path), federated=False, needs_test=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no test images in .*empty"):
        outline_data(config_of(tmp_path, test_dir=str(tmp_path / "empty")), federated=True)


def test_half_the_images(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    shutil.rmtree(tmp_path / "HAM10000_images_part_2")
    layouts.challenge_test(tmp_path)
    (tmp_path / "ISIC2018_Task3_Test_Input" / "ISIC_0035068.jpg").unlink()
    first, second = outline_data(config_of(tmp_path), federated=False).notices
    assert first.startswith("4 of 8 images")
    assert second.startswith("1 of 3 images")
