"""Classify images with a trained model: ``fedskin predict``."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from rich.table import Table

from data_partition.brats2019 import load_ungraded
from data_partition.errors import DataError
from data_partition.image_reader import Decoded, Unusable
from data_partition.image_store import store_side
from data_partition.image_table import ImageTable
from experiments.console import Console
from experiments.trained_model import HeadName, classify, find_model
from operation.files import replacing
from training.config import ExperimentConfig

console = Console()
errors = Console(stderr=True, soft_wrap=True)


def predict_command(
    source: Annotated[Path, typer.Argument(metavar="RUN_DIR|MODEL.safetensors")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write instead of the table.")
    ] = None,
    head: Annotated[
        HeadName | None,
        typer.Option(help="Use a head of fedskin heads instead of the network's own."),
    ] = None,
) -> None:
    """Classify each IMAGE with the best model of the finished run in RUN_DIR, or of a site's file.

    Prints the most probable class of each image and the probability of every class, or writes
    them to a CSV file. Images are preprocessed like the run's test images. For a run on
    BraTS2019 an IMAGE may be a folder of cases with their NIfTI volumes: each slice is
    classified, and each patient by the mean of the slices. A run with slice-choice = tumour
    also needs a segmentation of every case.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin predict runs/demo photo.jpg

    fedskin predict runs/demo clinic/*.jpg --out answers.csv

    fedskin predict runs/brain clinic/BraTS19_CBICA_AAB_1

    fedskin predict runs/heads photo.jpg --head svm

    fedskin predict final.safetensors photo.jpg
    """
    model = find_model(source.absolute(), head)
    classes = model.classes
    shown, pixels = _read(images, model.config)
    found, chosen = classify(model, pixels)
    probabilities = pd.DataFrame(found, columns=list(classes), index=shown.index)
    patients = probabilities.groupby(shown["patient"]).mean()
    answers = pd.concat(
        [probabilities.set_axis(shown["image"]), patients.rename("{} (mean of its slices)".format)]
    )
    by_mean = patients.idxmax(axis=1).tolist()
    answers.insert(0, "predicted", [*(classes[index] for index in chosen), *by_mean])
    if out is not None:
        with replacing(out) as temporary:
            answers.to_csv(temporary, index_label="image")
        console.print(f"Wrote {out}", highlight=False, soft_wrap=True)
        return
    console.print(_table(answers, synthetic=model.synthetic))


def _read(images: list[Path], config: ExperimentConfig) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Decode the images in the same way as the image store.

    Returns:
        Columns ``image``, the name, and ``patient``, None except for slices of cases; and the
        images (N, S, S, 3), where S is the store's side.
    """
    side = store_side(config.image_size)
    rows: list[tuple[str, str | None]] = []
    pixels: list[bytes] = []
    for path in images:
        if path.is_dir() and config.dataset == "brats2019":
            table = _cases(path, config)
        elif path.is_file():
            place = {"image_id": str(path), "path": str(path.absolute()), "member": ""}
            table = ImageTable(pd.DataFrame([{**place, "lesion_id": None}]), (), "", {})
        else:
            raise DataError(f"{path}: no such image file")
        decoded = list(table.reader.decode(table.rows, side))
        left_out = {(name, why) for why, names in table.set_aside.items() for name in names}
        for image, patient, answer in zip(
            table.rows["image_id"], table.rows["lesion_id"], decoded, strict=True
        ):
            if isinstance(answer, Decoded):
                rows.append((image, patient))
                pixels.append(answer.pixels)
            else:
                left_out.add((answer.name, answer.reason))
        if not any(isinstance(answer, Decoded) for answer in decoded):
            reasons = {answer.reason for answer in decoded if isinstance(answer, Unusable)}
            raise DataError(f"{path}: {', '.join(sorted(reasons))}; leave it out or repair it")
        for name, why in sorted(left_out):
            errors.print(f"left out, {why}: {name}", highlight=False)
    shown = pd.DataFrame(rows, columns=["image", "patient"])
    stacked = np.frombuffer(b"".join(pixels), dtype=np.uint8)
    return shown, stacked.reshape(len(rows), side, side, 3)


def _cases(path: Path, config: ExperimentConfig) -> ImageTable:
    first, second, third = config.modalities.split(",")
    return load_ungraded(
        path,
        modalities=(first, second, third),
        slices_per_patient=config.slices_per_patient,
        slice_choice=config.slice_choice,
    )


def _table(answers: pd.DataFrame, *, synthetic: bool) -> Table:
    """Return the predictions, by image in rows and class in columns, in percent."""
    title = "Probabilities in percent; not for diagnosis"
    if synthetic:
        title += "\nThe model was trained on SYNTHETIC images: its predictions mean nothing"
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("predicted", style="bold")
    for name in answers.columns[1:]:
        table.add_column(str(name), justify="right")
    for image, (predicted, *row) in zip(answers.index, answers.to_numpy().tolist(), strict=True):
        figures = [f"{100 * probability:.1f}" for probability in row]
        table.add_row(Path(image).name, predicted, *figures)
    return table
