"""What a finished run makes of some images: ``fedskin predict``."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_partition.atomic_file import replacing
from data_partition.errors import DataError
from data_partition.image_reader import Unusable
from data_partition.image_store import store_side
from data_partition.photographs import Photographs
from training.config import ExperimentConfig
from training.device import resolve_device
from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.text import as_text, text_of_run

console = Console()


def predict_command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write instead of the table.")
    ] = None,
) -> None:
    """Classify each IMAGE with the best model of the finished run in RUN_DIR.

    Prints the most probable class of each image and the probability of every class, or writes
    them to a CSV file. An image is prepared as the run prepared its test images.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin predict runs/demo photo.jpg

    fedskin predict runs/demo clinic/*.jpg --out answers.csv
    """
    folder = RunFolder(run_dir.absolute())
    config = folder.config()
    manifest = folder.manifest()
    if manifest.get("status") != "completed":
        raise RunFolderError(f"{folder.path}: the run is not completed; finish it with --resume")
    classes = tuple(manifest["data"]["classes"])
    pixels = _read(images, config)
    probabilities = _classify(folder, config, classes, pixels)
    names = [str(path) for path in images]
    if out is not None:
        _write(out, names, probabilities, classes)
        console.print(f"Wrote {out}", highlight=False, soft_wrap=True)
        return
    console.print(_table(names, probabilities, classes, synthetic=manifest["data"]["synthetic"]))


def _read(images: list[Path], config: ExperimentConfig) -> NDArray[np.uint8]:
    """Decode images (N, S, S, 3) as the image store does, S being the store's side."""
    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        raise DataError(f"{', '.join(missing)}: no such image file")
    side = store_side(config.image_size)
    paths = [str(path.absolute()) for path in images]
    rows = pd.DataFrame({"image_id": paths, "path": paths, "member": ""})
    decoded = list(Photographs().decode(rows, side))
    unusable = [answer.name for answer in decoded if isinstance(answer, Unusable)]
    if unusable:
        raise DataError(f"{', '.join(unusable)}: cannot be decoded; leave it out or mend it")
    pixels = b"".join(answer.pixels for answer in decoded if not isinstance(answer, Unusable))
    return np.frombuffer(pixels, dtype=np.uint8).reshape(len(images), side, side, 3)


def _classify(
    folder: RunFolder,
    config: ExperimentConfig,
    classes: tuple[str, ...],
    pixels: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """Return the best model's probabilities (N, K)."""
    # Imported here: a name misspelt should not wait for torch.
    from training.epoch import predict
    from training.network import preprocessing, restore_network

    # Where the run computed says nothing about where its model is used.
    here = config.replace(device=resolve_device("auto"), precision="float32")
    text = as_text(text_of_run(config, folder, classes))
    weights = folder.checkpoint.weights(folder.metrics()["best_round"])
    return np.exp(
        predict(
            restore_network(here, len(classes), weights, text),
            pixels,
            np.arange(len(pixels)),
            num_classes=len(classes),
            batch_size=config.batch_size,
            preprocessing=preprocessing(here),
        )
    )


def _write(
    path: Path, names: list[str], probabilities: NDArray[np.float32], classes: tuple[str, ...]
) -> None:
    table = pd.DataFrame(probabilities, columns=list(classes))
    table.insert(0, "image", names)
    table.insert(1, "predicted", [classes[index] for index in probabilities.argmax(axis=1)])
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def _table(
    names: list[str],
    probabilities: NDArray[np.float32],
    classes: tuple[str, ...],
    *,
    synthetic: bool,
) -> Table:
    title = "Probabilities in percent; not for diagnosis"
    if synthetic:
        title += "\nThe model was trained on SYNTHETIC images: its answers mean nothing"
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("predicted", style="bold")
    for name in classes:
        table.add_column(name, justify="right")
    for name, row in zip(names, probabilities, strict=True):
        figures = [f"{100 * probability:.1f}" for probability in row]
        table.add_row(escape(Path(name).name), classes[int(row.argmax())], *figures)
    return table
