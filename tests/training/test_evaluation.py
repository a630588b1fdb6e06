"""Evaluation on the test set: the metrics, and their uncertainty."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests.support import STORED_SIDE, make_config, random_split, rows_of, state_of
from training.evaluation import evaluate_on_test_set
from training.metrics import METRIC_NAMES
from training.network import base_sha256, sent_part
from training.run_folder import RunFolder
from training.split import GlobalTestSet, Split
from training.task import Task
from training.uncertainty import intervals

CLASSES = ("x", "y", "z")


def judged(split: Split, folder: Path, seed: int = 0) -> tuple[dict, np.ndarray]:
    """Judge random weights; return the block, and the answers that the predictions tell."""
    rows = pd.DataFrame({"image_id": range(len(split)), "label": "x", "lesion_id": "p"})
    # Untrained, the answers of the smaller network are all of one class.
    task = Task(make_config(backbone="resnet18", seed=seed), len(CLASSES))
    test_data = GlobalTestSet(split, rows, CLASSES, "", {})
    block = evaluate_on_test_set(
        task, state_of(task.build()), test_data, RunFolder(folder), "global_test"
    )
    table = RunFolder(folder).predictions("global_test")
    return block, table[list(CLASSES)].to_numpy(np.float32).argmax(axis=1)


@pytest.mark.parametrize("seed", [0, 3])
def test_intervals_are_the_bootstrap_of_the_predictions(tmp_path: Path, seed: int) -> None:
    """With the run's own seed; so anybody can compute them again from the predictions."""
    split = random_split(30)
    block, answers = judged(split, tmp_path, seed)
    assert block["intervals"] == intervals(split.labels, answers, 3, seed=seed)
    for name in METRIC_NAMES:
        low, high = block["intervals"][name]
        assert low <= block[name] <= high


def test_patients_are_drawn_whole(tmp_path: Path) -> None:
    """Ten patients of six slices each, of which every second one is judged."""
    every = random_split(60)
    patients = np.arange(60) // 6
    split = replace(every, indices=np.arange(0, 60, 2), patients=patients)
    block, answers = judged(split, tmp_path)
    labels, groups = every.labels[::2], patients[::2]
    assert block["intervals"] == intervals(labels, answers, 3, seed=0, groups=groups)
    assert block["intervals"] != intervals(labels, answers, 3, seed=0)
    assert block["patients"]["n"] == 10
    assert "intervals" not in block["patients"]


@pytest.mark.parametrize("trainable", ["head", "adapter"])
def test_on_kept_features_every_bit_is_as_on_images(tmp_path: Path, trainable: str) -> None:
    """The trunk's features of the test images are computed once, for any number of views."""
    split = random_split(21, side=STORED_SIDE)
    test_data = GlobalTestSet(split, rows_of(len(split)), CLASSES, "images", {})
    config = make_config(trainable=trainable, cache_dir=str(tmp_path / "cache"))
    network = Task(config, len(CLASSES)).build()
    weights, base = sent_part(network), base_sha256(network)
    blocks = []
    for views, known_base in ((0, None), (0, base), (2, base)):
        folder = RunFolder(tmp_path / str(len(blocks)))
        folder.path.mkdir()
        task = Task(config.replace(augmented_views=views), len(CLASSES), base=known_base)
        blocks.append(evaluate_on_test_set(task, weights, test_data, folder, "global_test"))
    assert blocks[0] == blocks[1] == blocks[2]
    assert len({file.read_bytes() for file in tmp_path.glob("*/*.csv")}) == 1
    (kept,) = (tmp_path / "cache" / "features").glob("*.safetensors")
    assert load_file(kept)["test"].shape == (21, 1, 256)
