"""The ISIC 2018 challenge's score of a run's predictions: ``fedskin score``."""

from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from rich.table import Table

from data_partition.errors import DataError
from data_partition.truth_file import as_one_hot, read_truth
from experiments.console import Console
from experiments.figures_table import (
    NONE,
    OVER,
    metric_cells,
    metric_columns,
    new_table,
    recall_table,
)
from experiments.official_scorer import ScorerError, official_balanced_accuracy
from experiments.submission import CLASSES, as_submission, read_answers
from operation.files import replacing, write_json
from training.errors import RunFolderError
from training.metrics import METRIC_NAMES, confusion_matrix, metric_block
from training.official_rules import LEFT_OUT, official_confusion
from training.run_folder import RunFolder

TOLERANCE = 1e-9

console = Console()


def score_command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR")],
    truth_csv: Annotated[Path, typer.Argument(metavar="TRUTH.csv")],
    head: Annotated[
        Literal["knn", "svm", "rf"] | None,
        typer.Option(help="Score this head's predictions.", show_default="the network's"),
    ] = None,
) -> None:
    """Score the finished run in RUN_DIR as the ISIC 2018 challenge, Task 3, does.

    TRUTH.csv is the ground truth of the run's test set, as published by the ISIC challenge
    (one-hot) or on Dataverse (with dx). Writes submission.csv, the file to submit, and score.json
    into RUN_DIR; for a head, submission-heads-knn.csv and score-heads-knn.json. Prints the plain
    figures, fedskin's under the official rules (tied maxima are wrong, one image is left out), and
    the official scorer's.

    The official scorer is an optional extra, see docs/scoring.md. Without it everything but its
    score is done, and the exit status is 2. If it disagrees with fedskin, the exit status is 1.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin score runs/prox ISIC2018_Task3_Test_GroundTruth.csv

    fedskin score runs/heads ISIC2018_Task3_Test_GroundTruth.csv --head knn
    """
    folder = RunFolder(run_dir.absolute())
    if folder.config().dataset == "brats2019":
        raise RunFolderError(f"{folder.path}: is a run on BraTS2019; the challenge is on HAM10000")
    if folder.manifest().get("status") != "completed":
        raise RunFolderError(f"{folder.path}: the run is not completed; finish it with --resume")
    truth = _read_whole_truth(truth_csv)
    answers = read_answers(folder, head, list(truth["image_id"]), truth_csv)

    suffix = f"-heads-{head}" if head else ""
    submission = folder.path / f"submission{suffix}.csv"
    with replacing(submission) as temporary:
        as_submission(answers).to_csv(temporary, index=False)
    score = _our_figures(truth, answers)
    refusal = ""
    try:
        score["official"] = _official_figures(truth, submission)
    except ScorerError as error:
        refusal = str(error)
    path = folder.path / f"score{suffix}.json"
    write_json(path, score)

    console.print(_table(score, synthetic=folder.manifest()["data"]["synthetic"]))
    console.print(recall_table(_counted(score), CLASSES, "counted by"))
    for line in (*_notes(score), f"Wrote {submission} and {path}"):
        console.print(line, highlight=False, soft_wrap=True)
    if refusal:
        raise RunFolderError(f"{folder.path}: no official score; {refusal}")
    difference = abs(score["official"]["bacc"] - score["official_rules"]["bacc"]) / 100
    if difference > TOLERANCE:
        Console(stderr=True, soft_wrap=True).print(
            f"The official scorer's balanced accuracy differs by {difference:.3g} from fedskin's "
            "under the official rules: a bug in fedskin, or another version of the scorer"
        )
        raise typer.Exit(1)


def _read_whole_truth(path: Path) -> pd.DataFrame:
    """Read a ground truth that has all classes: the official score is a mean over all seven."""
    truth = read_truth(path)
    counted = set(truth["label"][truth["image_id"] != LEFT_OUT])
    if absent := [name for name in CLASSES if name not in counted]:
        raise DataError(
            f"{path}: no scored image is of class {', '.join(absent)}, but the official score is "
            "a mean over all seven classes; give the whole ground truth"
        )
    return truth


def _our_figures(truth: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Any]:
    """Return the content of ``score.json``, with the official score still None."""
    labels = _indices(truth["label"])
    probabilities = answers[CLASSES].to_numpy(dtype=np.float32)
    predicted = probabilities.argmax(axis=1)
    if "predicted" in answers:  # a head may predict another class than its most probable one
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


def _official_figures(truth: pd.DataFrame, submission: Path) -> dict[str, Any]:
    accuracy = official_balanced_accuracy(as_one_hot(truth), submission)
    return {"bacc": 100 * accuracy, "version": metadata.version("isic-challenge-scoring")}


def _table(score: dict[str, Any], *, synthetic: bool) -> Table:
    """Return the figures in percent, one row for each way of counting."""
    title = "ISIC 2018 Task 3, in percent"
    if synthetic:
        title += "\nSYNTHETIC images: these figures say nothing about patients"
    table = new_table(title, "counted by", ["n", *metric_columns()])
    table.caption = OVER
    for who, block in _counted(score):
        table.add_row(who, str(block["n"]), *metric_cells(block))
    if score["official"]:
        cells = [NONE] * len(table.columns)
        cells[0] = "official scorer"
        cells[1 + 1 + METRIC_NAMES.index("bacc")] = f"{score['official']['bacc']:.2f}"
        table.add_row(*cells)
    return table


def _counted(score: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("plain", score["plain"]), ("official rules, by fedskin", score["official_rules"])]


def _notes(score: dict[str, Any]) -> list[str]:
    """Return the reasons why the official figures differ from the plain ones."""
    notes = [
        f"Images with tied maxima: {score['ties']}, wrong under the official rules",
        f"Left out under the official rules: {', '.join(score['left_out']) or 'none'}",
    ]
    if score["other_labels"]:
        notes.append(
            f"Images with a different label in the truth than in the run: {score['other_labels']}"
        )
    return notes
