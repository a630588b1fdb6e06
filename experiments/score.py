"""The ISIC 2018 challenge's score of a run's predictions: ``fedskin score``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from experiments.console import Console
from training.errors import RunFolderError

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
    # Imported here, since --help needs none of it.
    from data_partition.datasets import find_dataset
    from data_partition.truth_file import CHALLENGE_CLASSES
    from experiments import challenge
    from experiments.challenge import CLASSES, ScorerError, as_submission, read_answers
    from experiments.figures_table import recall_table
    from operation.files import replacing, write_json
    from operation.text import printable
    from training.data_description import synthetic_note
    from training.run_folder import RunFolder

    folder = RunFolder(run_dir.absolute())
    dataset = find_dataset(folder.config().dataset)
    if dataset.classes not in (None, CHALLENGE_CLASSES):
        raise RunFolderError(
            f"{folder.path}: is a run on {dataset.title}; the challenge is on the classes "
            f"{', '.join(CHALLENGE_CLASSES)}"
        )
    folder.check_completed()
    classes = dataset.classes or folder.data()["classes"]
    if tuple(classes) != CHALLENGE_CLASSES:
        raise RunFolderError(
            f"{folder.path}: is a run on the classes {printable(', '.join(classes))}; the "
            f"challenge is on {', '.join(CHALLENGE_CLASSES)}"
        )
    truth = challenge.read_whole_truth(truth_csv)
    answers = read_answers(folder, head, list(truth["image_id"]), truth_csv)

    suffix = f"-heads-{head}" if head else ""
    submission = folder.path / f"submission{suffix}.csv"
    with replacing(submission) as temporary:
        as_submission(answers).to_csv(temporary, index=False)
    score = challenge.our_figures(truth, answers)
    refusal = ""
    try:
        score["official"] = challenge.official_figures(truth, submission)
    except ScorerError as error:
        refusal = str(error)
    path = folder.path / f"score{suffix}.json"
    write_json(path, score)

    console.print(challenge.score_table(score, synthetic_note(folder.manifest())))
    console.print(recall_table(challenge.counted(score), CLASSES, "counted by"))
    for line in (*challenge.notes(score), f"Wrote {submission} and {path}"):
        console.say(line)
    if refusal:
        raise RunFolderError(f"{folder.path}: no official score; {refusal}")
    difference = abs(score["official"]["bacc"] - score["official_rules"]["bacc"]) / 100
    if difference > TOLERANCE:
        Console(stderr=True, soft_wrap=True).print(
            f"The official scorer's balanced accuracy differs by {difference:.3g} from fedskin's "
            "under the official rules: a bug in fedskin, or another version of the scorer"
        )
        raise typer.Exit(1)
