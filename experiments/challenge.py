"""The ISIC 2018 challenge's score: predictions in its format, our figures and its scorer's."""

import io
import warnings
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from data_partition.errors import DataError
from data_partition.truth_file import CHALLENGE_CLASSES, CHALLENGE_COLUMNS, as_one_hot, read_truth
from experiments.figures_table import NONE, OVER, metric_cells, metric_columns, new_table
from training.errors import RunFolderError
from training.metrics import METRIC_NAMES, Confusion, confusion_matrix, metric_block
from training.run_folder import RunFolder

LEFT_OUT = "ISIC_0035068"
"""The test image that has weight zero in the official scorer."""

CLASSES = list(CHALLENGE_CLASSES)
_NAMES_SHOWN = 3


def official_confusion(
    image_ids: Sequence[str], labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> Confusion:
    """Count predictions as the package isic-challenge-scoring does.

    If several classes share an image's highest probability, the prediction is "undecided", which
    is always wrong. ``LEFT_OUT`` is not counted.

    Args:
        image_ids: n ids.
        labels: (n,) true classes, each in [0, K).
        probabilities: (n, K) in [0, 1].

    Returns:
        (K + 1, K + 1) counts, true classes in rows. Column K counts the ties; row K is empty, so
        that ``training.metrics`` can use it like any confusion matrix.
    """
    num_classes = probabilities.shape[1]
    highest = probabilities.max(axis=1, keepdims=True)
    tied = (probabilities == highest).sum(axis=1) > 1
    answers = np.where(tied, num_classes, probabilities.argmax(axis=1))
    counted = np.array([image_id != LEFT_OUT for image_id in image_ids], dtype=bool)
    return confusion_matrix(labels[counted], answers[counted], num_classes + 1)


def read_answers(
    folder: RunFolder, head: str | None, image_ids: list[str], truth: Path
) -> pd.DataFrame:
    """Read the predictions of a run's network, or of a head on its features.

    Args:
        head: name of the head, or None for the network.
        image_ids: of the ground truth, unique.

    Returns:
        One row for each of ``image_ids``, in their order; index 0 … n - 1. Columns ``image_id``,
        ``label``, a float32 probability for each of ``CLASSES``, and for a head ``predicted``.

    Raises:
        RunFolderError: there is no such file, it is not a table with these columns, an image has
            two rows, a probability is not a number in [0, 1], or a prediction is not a class.
        DataError: the images are not those of the ground truth.
    """
    path = folder.path / f"predictions-{_test_set(head)}.csv"
    if not path.is_file():
        remedy = "run fedskin heads first"
        if head is None:
            remedy = (
                "run it with a global test set, and a method that trains one whole model for all"
            )
        raise RunFolderError(f"{path}: there are no such predictions; {remedy}")
    table = folder.predictions(_test_set(head))
    _check(table, path, head)
    numbers = table[CLASSES].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    impossible = np.argwhere(~((numbers >= 0) & (numbers <= 1)))
    if len(impossible):
        row, column = impossible[0]
        value = table[CLASSES].iloc[row, column]
        raise _changed(
            path,
            f"image {table['image_id'].iloc[row]} has {str(value)!r} for {CLASSES[column]}, which "
            "is not a number in [0, 1]",
        )
    # Back to the run's float32 values: then exactly the run's ties are ties.
    table[CLASSES] = numbers.astype(np.float32)
    answered, true = set(table["image_id"]), set(image_ids)
    if answered != true:
        raise DataError(
            f"{truth}: has other images than {path.name}; only in the truth: "
            f"{_listed(true - answered)}; only in the predictions: {_listed(answered - true)}; "
            "give the ground truth of the run's test set"
        )
    return table.set_index("image_id").loc[image_ids].reset_index()


def as_submission(answers: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the challenge's columns: ``image`` and ``CHALLENGE_COLUMNS``."""
    table = answers[["image_id", *(name.lower() for name in CHALLENGE_COLUMNS)]]
    return table.set_axis(["image", *CHALLENGE_COLUMNS], axis=1)


def _test_set(head: str | None) -> str:
    return "global_test" if head is None else f"heads-{head}"


def _check(table: pd.DataFrame, path: Path, head: str | None) -> None:
    needed = ["image_id", "label", *CLASSES, *(["predicted"] if head else [])]
    if missing := [name for name in needed if name not in table.columns]:
        raise _changed(path, f"lacks the column {', '.join(missing)}")
    twice = table["image_id"][table["image_id"].duplicated()]
    if len(twice):
        raise _changed(path, f"image {twice.iloc[0]} has two rows")
    if head:
        unknown = table[~table["predicted"].isin(CLASSES)]
        if len(unknown):
            image_id, answer = unknown.iloc[0][["image_id", "predicted"]]
            raise _changed(
                path, f"image {image_id} has the prediction {answer!r}, which is not a class"
            )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMES_SHOWN]) or "none"
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _changed(path: Path, fault: str) -> RunFolderError:
    return RunFolderError(f"{path}: {fault}; restore the file as the run wrote it")


class ScorerError(RuntimeError):
    """There is no official score; the message gives the reason in one line."""


def official_figures(truth: pd.DataFrame, submission: Path) -> dict[str, Any]:
    """Score a submission with the challenge's own code.

    Args:
        truth: as from `read_whole_truth`.
        submission: a CSV file with the same images, in any order, as of `as_submission`.

    Returns:
        Its balanced accuracy ``bacc``, in percent, and its ``version``.

    Raises:
        ScorerError: the package is not installed, or it refuses the submission.
    """
    # Imported here: it is optional.
    try:
        from isic_challenge_scoring import ClassificationMetric, ClassificationScore, ScoreError
    except ImportError:
        raise ScorerError(
            "the extra 'score' is not installed; in the checkout, with a C compiler: "
            "pip install -c constraints.txt -e '.[score]'"
        ) from None
    # It sorts truth and predictions by image, but not the images' weights: with an unsorted truth
    # it would leave out a wrong image.
    table = as_one_hot(truth).sort_values("image")
    with warnings.catch_warnings(), submission.open(encoding="utf-8") as answers:
        warnings.simplefilter("ignore", FutureWarning)  # it calls something that pandas will remove
        try:
            score = ClassificationScore.from_stream(
                io.StringIO(table.to_csv(index=False)),
                answers,
                ClassificationMetric.BALANCED_ACCURACY,
            )
        except ScoreError as error:
            raise ScorerError(f"the official scorer refuses {submission.name}: {error}") from error
    version = metadata.version("isic-challenge-scoring")
    return {"bacc": 100 * float(score.overall), "version": version}


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
