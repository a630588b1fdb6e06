"""What models answered on the test images of a hospital, read from a trial's predictions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.hospital_statistics import HospitalImages
from training.errors import RunFolderError
from training.metrics import confusion_matrix
from training.predictions import read_predictions

# The column that names what is drawn together, and what it is called.
_UNITS = {"patient_id": "patient", "lesion_id": "lesion"}


def read_answers(
    path: Path, classes: Sequence[str], confusion: Sequence[Sequence[int]] | None
) -> tuple[HospitalImages, NDArray[np.float32]]:
    """Read a file of predictions.

    Args:
        classes: K names, in the order of the network's outputs.
        confusion: (K, K) counts that the predictions must give; None: unknown.

    Returns:
        The test images, and the probabilities (n, K).

    Raises:
        RunFolderError: it is missing or damaged, has no images, or is of another model; one line.
    """
    try:
        table = read_predictions(path)
    except ValueError as error:
        raise RunFolderError(f"{path.name}: is not a table: {error}") from None
    if not {"image_id", "label", *classes} <= set(table):
        raise RunFolderError(f"{path.name}: has not the columns of these classes")
    if table.empty or table["image_id"].duplicated().any():
        raise RunFolderError(f"{path.name}: has no images, or one twice")
    labels = pd.Index(classes).get_indexer(pd.Index(table["label"]))
    try:
        probabilities = table[list(classes)].to_numpy(np.float32)
    except ValueError:
        raise RunFolderError(f"{path.name}: holds something else than numbers") from None
    if (labels < 0).any() or not np.isfinite(probabilities).all():
        raise RunFolderError(f"{path.name}: holds an unknown class, or no number")
    if confusion is not None:
        counts = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
        if counts.tolist() != confusion:
            raise RunFolderError(f"{path.name}: is not of the model that metrics.json describes")
    column = next((name for name in _UNITS if name in table), None)
    units = table["image_id"] if column is None else table[column]
    # An image whose lesion is not known is drawn alone.
    units = units.where(units != "", "image " + table["image_id"])
    images = HospitalImages(
        tuple(table["image_id"]),
        labels.astype(np.int64),
        units.to_numpy(str),
        "image" if column is None else _UNITS[column],
    )
    return images, probabilities
