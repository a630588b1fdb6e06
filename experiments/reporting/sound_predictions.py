"""Reads predictions that something is computed from, if they are whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from training.errors import RunFolderError
from training.predictions import read_predictions


def sound_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read a file of predictions, of which `run_results.answers_of` then makes answers.

    Args:
        classes: K names.

    Raises:
        RunFolderError: it cannot be read, has no image or one twice, or holds something else than
            these classes and K finite numbers for each image; with the remedy.
    """
    table = read_predictions(path)
    if fault := _fault(table, classes):
        raise RunFolderError(
            f"{path}: is damaged, or of another version ({fault}); make the run again"
        )
    return table


def _fault(table: pd.DataFrame, classes: Sequence[str]) -> str:
    """Return what is wrong with predictions; empty if nothing is."""
    if not {"image_id", "label", *classes} <= set(table):
        return "has not the columns of these classes"
    if table.empty or table["image_id"].duplicated().any():
        return "has no images, or one twice"
    if not {*table["label"], *table.get("predicted", ())} <= set(classes):
        return "holds an unknown class"
    numbers = table[list(classes)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    return "" if np.isfinite(numbers).all() else "holds something else than numbers"
