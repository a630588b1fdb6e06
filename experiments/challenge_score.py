"""The figures for the ISIC 2018 challenge's score: our own, and the official scorer's."""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from data_partition.errors import DataError
from data_partition.truth_file import as_one_hot, read_truth
from experiments.challenge_submission import CLASSES
from experiments.figures_table import NONE, OVER, metric_cells, metric_columns, new_table
from experiments.official_scorer import official_balanced_accuracy
from training.metrics import METRIC_NAMES, confusion_matrix, metric_block
from training.official_rules import LEFT_OUT, official_confusion


def read_whole_truth(path: Path) -> pd.DataFrame:
    """Read a ground truth that has all classes: the official score is a mean over all seven.

    Raises:
        DataError: a class is missing, or the file is not a ground truth.
    """
    truth = read_truth(path)
    counted = set(truth["label"][truth["image_id"] != LEFT_OUT])
    if absent := [name for name in CLASSES if name not in counted]:
        raise DataError(
            f"{path}: no scored image is of class {', '.join(absent)}, but the official score is "
            "a mean over all seven classes; give the whole ground truth"
        )
    return truth


def our_figures(truth: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Any]:
    """Return the content of ``score.json``, with the official score still None."""
    labels = _indices(truth["label"])
    probabilities = answers[CLASSES].to_numpy(dtype=np.float32)
    predicted = probabilities.argmax(axis=1)
    if "predicted" in answers:  # a head may predict a class that is not the most probable one
        predicted = _indices(answers["predicted"])
    image_ids = list(truth["image_id"])
    official_rules = official_confusion(image_ids, labels, probabilities)
    return {
        "plain": metric_block(confusion_matrix(labels, predicted, len(CLASSES))),
        "official_rules": metric_block(official_rules),
        "official": None,
        "ties": int(official_rules[:, -1].sum()),
        "left_out": [LEFT_OUT] if LEFT_OUT in image_ids else [],
        "other_labels": int((truth["label"] != answers["label"]).sum()),
    }


def _indices(names: pd.Series) -> NDArray[np.int64]:
    return np.array([CLASSES.index(name) for name in names], dtype=np.int64)


def official_figures(truth: pd.DataFrame, submission: Path) -> dict[str, Any]:
    """Return the official scorer's balanced accuracy, in percent, and its version.

    Raises:
        ScorerError: it is not installed, or refuses the submission.
    """
    accuracy = official_balanced_accuracy(as_one_hot(truth), submission)
    return {"bacc": 100 * accuracy, "version": metadata.version("isic-challenge-scoring")}


def score_table(score: dict[str, Any], note: str | None) -> Table:
    """Return the figures in percent, one row for each way of counting.

    Args:
        score: as in ``score.json``.
    """
    title = "ISIC 2018 Task 3, in percent"
    if note:
        title += f"\n{note}"
    table = new_table(title, "counted by", ["n", *metric_columns()])
    table.caption = OVER
    for who, block in counted(score):
        table.add_row(who, str(block["n"]), *metric_cells(block))
    if score["official"]:
        cells = [NONE] * len(table.columns)
        cells[0] = "official scorer"
        cells[1 + 1 + METRIC_NAMES.index("bacc")] = f"{score['official']['bacc']:.2f}"
        table.add_row(*cells)
    return table


def counted(score: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the blocks of figures that fedskin computed, with their names."""
    return [("plain", score["plain"]), ("official rules, by fedskin", score["official_rules"])]


def notes(score: dict[str, Any]) -> list[str]:
    """Return the reasons why the official figures differ from the plain ones."""
    lines = [
        f"Images with tied maxima: {score['ties']}, wrong under the official rules",
        f"Left out under the official rules: {', '.join(score['left_out']) or 'none'}",
    ]
    if score["other_labels"]:
        lines.append(
            f"Images with a different label in the truth than in the run: {score['other_labels']}"
        )
    return lines
