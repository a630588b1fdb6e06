"""Tables of a model's predictions for test images, one row for each image."""

from collections.abc import Hashable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from operation.files import replacing
from training.errors import RunFolderError
from training.whole_files import COPY

# Columns that name what images have in common, and what that is called.
UNITS = {"patient_id": "patient", "lesion_id": "lesion"}


def write_predictions(
    path: Path,
    rows: pd.DataFrame,
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
    *,
    by_patient: bool = False,
    predicted: Sequence[str] | None = None,
) -> None:
    """Write a CSV file with probabilities in full precision.

    Its columns are ``image_id``, ``label``, with ``predicted`` that, ``patient_id`` or, if any is
    known, ``lesion_id`` (empty where it is not), and a probability for each class.

    Args:
        rows: n rows with ``image_id``, ``label`` and ``lesion_id``.
        probabilities: (n, K).
        by_patient: whether ``lesion_id`` names patients, by whom there are figures, too.
        predicted: n class names, if the prediction may differ from the most probable class.
    """
    table = pd.DataFrame(probabilities.astype(np.float32), columns=list(classes))
    about = {"image_id": list(rows["image_id"]), "label": list(rows["label"])}
    if predicted is not None:
        about["predicted"] = list(predicted)
    if by_patient or rows["lesion_id"].notna().any():
        about["patient_id" if by_patient else "lesion_id"] = list(rows["lesion_id"])
    for place, (name, column) in enumerate(about.items()):
        table.insert(place, name, column)
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read what `write_predictions` wrote; ids and labels are text.

    Raises:
        RunFolderError: it is missing, or not a whole table.
    """
    columns = ("image_id", "label", "predicted", "patient_id", "lesion_id")
    text: dict[Hashable, type[str]] = dict.fromkeys(columns, str)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror}); {COPY}") from None
    try:
        table = pd.read_csv(BytesIO(content), dtype=text, keep_default_na=False)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise RunFolderError(f"{path}: is not a readable table ({reason}); {COPY}") from None
    if not content.endswith(b"\n"):
        raise RunFolderError(f"{path}: ends within a line; {COPY}")
    return table
