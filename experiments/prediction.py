"""Classify images with a trained model: ``fedskin predict``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from experiments.console import Console
from experiments.options import HeadOption, WeightsOption
from experiments.prediction_certainty import (
    HEAT_MAP,
    SETS,
    as_csv,
    as_json,
    calibrated_columns,
)
from operation.errors import OperationError
from operation.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from experiments.trained_model import TrainedModel

console = Console()
errors = Console(stderr=True, soft_wrap=True)


def predict_command(
    source: Annotated[Path, typer.Argument(metavar="RUN_DIR|MODEL.safetensors")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER|TABLE...")],
    out: Annotated[
        Path | None, typer.Option(help="CSV or JSON file to write instead of the table.")
    ] = None,
    head: HeadOption = None,
    weights: WeightsOption = "best",
    abstain_below: Annotated[
        float,
        typer.Option(
            metavar="P", min=0, max=1, help="Predict nothing where the probability is lower."
        ),
    ] = 0.0,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a heat map of each image into a new folder."),
    ] = None,
) -> None:
    """Classify each IMAGE with the model of the finished run in RUN_DIR, or of a site's file.

    Prints the most probable class of each image and the probability of every class, or writes
    them to a CSV or JSON file. Images are preprocessed like the run's test images. Of a FOLDER
    every JPEG and PNG is classified, also in folders and zip archives below it; of a TABLE (CSV)
    those that its column image names. For a run on BraTS2019 FOLDER is one of cases with their
    NIfTI volumes: each slice is classified, and each patient by the mean of the slices. A run with
    slice-choice = tumour also needs a segmentation of every case.

    With a run folder, probabilities are also given as calibrated on the run's validation images,
    and for each image the set of classes of which one is the true one as often as the run's key
    coverage says, for images like those; see docs/uncertainty.md.

    --explain writes a picture of each image: in colour, on which parts of it the predicted class
    rests. It says nothing about whether the class is right; see docs/predictions.md. It needs the
    extra explain.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin predict runs/demo photo.jpg

    fedskin predict runs/demo clinic --out answers.csv --abstain-below 0.6

    fedskin predict runs/brain clinic/BraTS19_CBICA_AAB_1

    fedskin predict runs/heads photo.jpg --head svm

    fedskin predict runs/demo clinic --out answers.csv --explain maps

    fedskin predict final.safetensors photo.jpg
    """
    if out is not None and out.suffix.lower() not in (".csv", ".json"):
        raise typer.BadParameter(f"{out} must end in .csv or .json", param_hint="--out")
    # Imported here, since --help needs none of it.
    from experiments.calibration_text import always_line
    from experiments.trained_model import find_model
    from operation.files import check_writable, creating_folder, replacing, write_json

    if out is not None:
        check_writable(out)
    if explain is not None and explain.exists() and (explain.is_file() or any(explain.iterdir())):
        raise OperationError(f"--explain {explain}: is there already; choose another folder")
    model = find_model(source.absolute(), head, weights)
    with nullcontext() if explain is None else creating_folder(explain) as folder:
        answers = predictions_of(model, images, abstain_below, folder)
    if explain is not None:
        console.say(f"Wrote {counted(answers[HEAT_MAP].notna().sum(), 'heat map')} to {explain}")
    if out is not None:
        known, classes = model.calibration, model.classes
        if out.suffix.lower() == ".json":
            content: dict[str, Any] = {"calibration": None if known is None else known.to_block()}
            if known is not None:
                content["always_in_set_by_class"] = known.always_inside(classes)["by_class"]
            write_json(out, {**content, "images": as_json(answers, classes)})
        else:
            table = as_csv(answers.drop(columns=["name", "patient"]), classes, known)
            with replacing(out) as temporary:
                table.to_csv(temporary, index=False)
        console.say(f"Wrote {out}")
        if known is not None and (line := always_line(known, classes)):
            console.say(f"{line}.")
        if model.uncalibrated:
            console.say(f"Not calibrated: {model.uncalibrated}.")
        return
    printed = _table(answers, model)
    # Names are never broken: on a narrow terminal, or in a file, the lines are longer.
    width = console.measure(printed, options=console.options.update(width=10_000)).maximum
    Console(width=max(width, console.width)).print(printed)


def predictions_of(
    model: TrainedModel,
    images: Sequence[Path],
    abstain_below: float = 0.0,
    explain: Path | None = None,
) -> pd.DataFrame:
    """Classify images, and the patients that they belong to.

    Args:
        images: images, tables of images, or folders of images or of BraTS2019's cases.
        abstain_below: the least probability of a prediction; otherwise it is missing.
        explain: an empty folder to write a heat map of each image's most probable class to.

    Returns:
        A row for each image and then for each patient: ``image``, ``name`` for a narrow table,
        ``patient`` (missing if unknown), ``predicted``, and the probability of each class. With a
        calibration also ``calibrated:<class>``, and for images ``set`` and ``set by class``, tuples
        of classes. With ``explain`` also ``heat map``, the picture's name, for images.

    Raises:
        DataError: there is no image, or one cannot be read and there is no other.
        RunFolderError, WeightsError, HeadError: the model cannot be read.
        TrainingError: the model has no heat maps.
    """
    import pandas as pd

    from experiments.prediction_certainty import abstaining, with_sets
    from experiments.prediction_images import decode_images, find_images
    from experiments.trained_model import Classifier

    tables = find_images(images, model.config)
    classify = Classifier(model)
    pictures = None
    if explain is not None:
        from experiments.heat_pictures import HeatPictures

        pictures = HeatPictures(explain, model.config, classify.heat_maps)
    parts = []
    for asked in decode_images(tables, model.config, errors):
        probabilities, chosen = classify(asked.pixels)
        part = pd.DataFrame(probabilities, columns=list(model.classes))
        part.insert(0, "predicted", [model.classes[index] for index in chosen])
        if pictures is not None:
            part[HEAT_MAP] = pictures.write(asked, chosen)
        parts.append(pd.concat([asked.rows, part], axis=1))
    answers = pd.concat(parts)
    if model.calibration is not None:
        answers = with_sets(answers, model.classes, model.calibration)
    if answers["patient"].notna().any():
        answers = pd.concat([answers, _of_patients(answers, list(model.classes))])
    return abstaining(answers, model.classes, abstain_below) if abstain_below else answers


def _of_patients(answers: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Return a row for each patient, with the mean probabilities of the patient's slices."""
    columns = [*classes, *(c for c in calibrated_columns(classes) if c in answers)]
    means = answers.groupby("patient")[columns].mean()
    means.insert(0, "predicted", means[classes].idxmax(axis=1))
    names = [f"{patient} (mean of its slices)" for patient in means.index]
    return means.assign(image=names, name=names)


def _table(answers: pd.DataFrame, model: TrainedModel) -> Table:
    """Return the predictions, by image in rows and class in columns, in percent."""
    from data_partition.datasets import find_dataset
    from experiments.calibration_text import always_line

    classes, known = list(model.classes), model.calibration
    title = "Probabilities in percent; not for diagnosis"
    if known is not None:
        title += (
            f"\nCalibrated (temperature {known.temperature:.2f}). The set holds the true class for "
            f"{100 * known.coverage:g} % of images like the run's validation images;\nof a single "
            "class, or of images from elsewhere, it may be far fewer"
        )
        if known.always_inside(classes)["marginal"]:
            title += f"\n{always_line(known, classes)}"
    else:
        title += f"\nNot calibrated: {model.uncalibrated}"
    # A model file names no data set of a package whose images are plain files.
    dataset = model.config.dataset
    full = find_dataset(dataset).full_names if dataset != "auto" else {}
    if named := [f"{name}: {full[name]}" for name in classes if name in full]:
        title += f"\n{'; '.join(named)}"
    if model.synthetic:
        title += f"\n{model.synthetic}"
    table = Table(title=title, title_justify="left")
    table.add_column("image", no_wrap=True)
    table.add_column("predicted", style="bold")
    if known is not None:
        table.add_column("set")
    for name in classes:
        table.add_column(name, justify="right", overflow="fold")
    shown = classes if known is None else calibrated_columns(classes)
    sets = answers[SETS["marginal"]] if known is not None else [None] * len(answers)
    rows = zip(answers["name"], answers["predicted"], sets, answers[shown].to_numpy(), strict=True)
    for name, predicted, of_image, probabilities in rows:
        cells = [predicted if isinstance(predicted, str) else "–"]
        if known is not None:
            cells.append((", ".join(of_image) or "(empty)") if isinstance(of_image, tuple) else "–")
        table.add_row(name, *cells, *(f"{100 * probability:.1f}" for probability in probabilities))
    return table
