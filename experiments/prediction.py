"""Classify images with a trained model: ``fedskin predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from experiments.console import Console

if TYPE_CHECKING:
    import pandas as pd

    from experiments.trained_model import TrainedModel

console = Console()
errors = Console(stderr=True, soft_wrap=True)


def predict_command(
    source: Annotated[Path, typer.Argument(metavar="RUN_DIR|MODEL.safetensors")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER...")],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write instead of the table.")
    ] = None,
    head: Annotated[
        Literal["knn", "svm", "rf"] | None,
        typer.Option(help="Use a head of fedskin heads instead of the network's own."),
    ] = None,
) -> None:
    """Classify each IMAGE with the best model of the finished run in RUN_DIR, or of a site's file.

    Prints the most probable class of each image and the probability of every class, or writes
    them to a CSV file. Images are preprocessed like the run's test images. Of a FOLDER every image
    file is classified, also in folders and zip archives below it. For a run on BraTS2019 it is a
    folder of cases with their NIfTI volumes: each slice is classified, and each patient by the
    mean of the slices. A run with slice-choice = tumour also needs a segmentation of every case.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin predict runs/demo photo.jpg

    fedskin predict runs/demo clinic --out answers.csv

    fedskin predict runs/brain clinic/BraTS19_CBICA_AAB_1

    fedskin predict runs/heads photo.jpg --head svm

    fedskin predict final.safetensors photo.jpg
    """
    # Imported here, since --help needs none of it.
    from experiments.trained_model import find_model
    from operation.files import replacing

    model = find_model(source.absolute(), head)
    answers = predictions_of(model, images)
    if out is not None:
        with replacing(out) as temporary:
            answers.drop(columns=["name", "patient"]).to_csv(temporary, index=False)
        console.say(f"Wrote {out}")
        return
    table = _table(answers, list(model.classes), model.synthetic)
    # Names are never broken: on a narrow terminal, or in a file, the lines are longer.
    width = console.measure(table, options=console.options.update(width=10_000)).maximum
    Console(width=max(width, console.width)).print(table)


def predictions_of(model: TrainedModel, images: Sequence[Path]) -> pd.DataFrame:
    """Classify images, and the patients that they belong to.

    Args:
        images: images, or folders of images or of BraTS2019's cases.

    Returns:
        A row for each image and then for each patient: ``image``, ``name`` for a narrow table,
        ``patient`` (missing if unknown), ``predicted``, and the probability of each class.

    Raises:
        DataError: there is no image, or one cannot be read and there is no other.
        RunFolderError, WeightsError, HeadError: the model cannot be read.
    """
    import pandas as pd

    from experiments.prediction_images import decode_images, find_images
    from experiments.trained_model import classifier

    tables = find_images(images, model.config)
    classify = classifier(model)
    parts = []
    for asked in decode_images(tables, model.config, errors):
        probabilities, chosen = classify(asked.pixels)
        part = pd.DataFrame(probabilities, columns=list(model.classes))
        part.insert(0, "predicted", [model.classes[index] for index in chosen])
        parts.append(pd.concat([asked.rows, part], axis=1))
    answers = pd.concat(parts)
    if answers["patient"].notna().any():
        answers = pd.concat([answers, _of_patients(answers, list(model.classes))])
    return answers


def _of_patients(answers: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Return a row for each patient, with the mean probabilities of the patient's slices."""
    means = answers.groupby("patient")[classes].mean()
    means.insert(0, "predicted", means.idxmax(axis=1))
    names = [f"{patient} (mean of its slices)" for patient in means.index]
    return means.assign(image=names, name=names)


def _table(answers: pd.DataFrame, classes: list[str], synthetic: str | None) -> Table:
    """Return the predictions, by image in rows and class in columns, in percent."""
    title = "Probabilities in percent; not for diagnosis"
    if synthetic:
        title += f"\n{synthetic}"
    table = Table(title=title, title_justify="left")
    table.add_column("image", no_wrap=True)
    table.add_column("predicted", style="bold")
    for name in classes:
        table.add_column(name, justify="right", overflow="fold")
    rows = zip(
        answers["name"], answers["predicted"], answers[classes].to_numpy().tolist(), strict=True
    )
    for name, predicted, probabilities in rows:
        figures = [f"{100 * probability:.1f}" for probability in probabilities]
        table.add_row(name, predicted, *figures)
    return table
