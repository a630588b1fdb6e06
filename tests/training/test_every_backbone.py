"""Every kind of backbone, as large as it is, trains against text in one place."""

import shutil
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from models.registry import BACKBONES, find_backbone
from tests.data_partition import layouts
from tests.support import LARGER_SIZES, make_config, make_text
from training.centralized_run import CentralizedRun
from training.experiment_data import open_central_data, open_test_data
from training.metrics import METRIC_NAMES
from training.run_folder import RunFolder
from training.weights import load_weights

# The widths of the study's text encoders, in turn.
TEXT = dict(zip(BACKBONES, cycle([("ViT-L/14", 768), ("RN50x64", 1024)]), strict=False))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images, of which ⌊(8 · 5 + 5)/10⌋ = 4 are for training, and two of a test set."""
    folder = tmp_path_factory.mktemp("few") / "data"
    labels = {f"image-{number}": label for number, label in enumerate(HAM10000_CLASSES)}
    for number, (name, label) in enumerate(labels.items()):
        layouts.class_tree(folder / ("train" if number < 5 else "test"), {name: label})
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    """Removed at once: vit_l_16 leaves 5 GB, and pytest would keep them over three sessions."""
    yield RunFolder(tmp_path / "run")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(name, marks=[] if name == "resnet18" else pytest.mark.slow)
        for name in TEXT
        if name not in LARGER_SIZES
    ],
)
def test_an_epoch_against_text_steps_and_leaves_finite_figures(
    backbone: str, data_dir: Path, folder: RunFolder
) -> None:
    text_encoder, width = TEXT[backbone]
    config = make_config(
        objective="clip",
        backbone=backbone,
        text_encoder=text_encoder,
        image_size=find_backbone(backbone).fixed_image_size or 32,
        epochs=1,
        batch_size=2,
        data_dir=str(data_dir),
        cache_dir=str(data_dir.parent / "cache"),
    )
    assert config.optimizer == "adagrad"
    folder.create(config)
    data, test_data = open_central_data(config), open_test_data(config)
    CentralizedRun(config, folder, data, test_data, make_text(classes=7, width=width)).run()

    (epoch,) = folder.rounds()
    assert epoch["examples"] == 4
    assert np.isfinite(epoch["train_loss"])
    state = load_weights(folder.path / "optimizer" / "round-00001.safetensors")
    assert state["head.weight/sum"].any(), "Adagrad has made no step"
    final = folder.metrics()
    for block, num_images in ((final["global_test"], 2), (final["validation"], 1)):
        assert block["n"] == num_images
        assert all(0 <= block[name] <= 100 for name in METRIC_NAMES)
        assert np.isfinite(block["loss"])
    weights = folder.checkpoint.weights(1)
    assert weights["head.weight"].shape == (width, find_backbone(backbone).width)
    assert all(np.isfinite(array).all() for array in weights.values())
