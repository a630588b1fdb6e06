"""Evaluation on the test set: the metrics, and their uncertainty."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support import first_weights, make_config, random_split
from training.evaluation import evaluate_on_test_set
from training.metrics import METRIC_NAMES
from training.run_folder import RunFolder
from training.split import GlobalTestSet, Split
from training.task import Task
from training.uncertainty import intervals

CLASSES = ("x", "y", "z")


def judged(split: Split, folder: Path, seed: int = 0) -> tuple[dict, np.ndarray]:
    """Judge random weights; return the block, and the answers that the predictions tell."""
    rows = pd.DataFrame({"image_id": range(len(split)), "label": "x", "lesion_id": "p"})
    config = make_config(seed=seed)
    task = Task(config, len(CLASSES))
    test_data = GlobalTestSet(split, rows, CLASSES, "", {})
    block = evaluate_on_test_set(task, first_weights(), test_data, RunFolder(folder), "global_test")
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
