"""How sure the predictions are: calibrated probabilities, prediction sets, and abstaining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from training.calibration import Calibration

CALIBRATED = "calibrated:"
# Columns of the sets by their kind, as tuples of classes.
SETS = {"marginal": "set", "by_class": "set by class"}
# Column of a CSV with the classes that are in the set by class of every image.
ALWAYS = "always in set by class"
HEAT_MAP = "heat map"  # column with the file's name


def calibrated_columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of the calibrated probabilities."""
    return [f"{CALIBRATED}{name}" for name in classes]


def with_sets(
    answers: pd.DataFrame, classes: Sequence[str], calibration: Calibration
) -> pd.DataFrame:
    """Return the answers with calibrated probabilities and both kinds of sets, for each image.

    Args:
        answers: with a column for each class, the network's probabilities.
    """
    # Imported here, since --help needs none of it.
    import numpy as np

    from training.prediction_sets import in_sets
    from training.temperature import calibrated

    probabilities = answers[list(classes)].to_numpy()
    found = answers.copy()
    found[calibrated_columns(classes)] = calibrated(probabilities, calibration.temperature)
    for kind, thresholds in calibration.kinds.items():
        inside = in_sets(probabilities, thresholds)
        found[SETS[kind]] = [tuple(np.array(classes)[row].tolist()) for row in inside]
    return found


def abstaining(answers: pd.DataFrame, classes: Sequence[str], below: float) -> pd.DataFrame:
    """Return the answers without the predictions that have a lower probability than ``below``.

    The calibrated probability counts where there is one.
    """
    import numpy as np

    columns = calibrated_columns(classes)
    known = columns[0] in answers
    probabilities = answers[columns if known else list(classes)].to_numpy()
    places = {name: place for place, name in enumerate(classes)}
    chosen = answers["predicted"].map(places).to_numpy()
    unsure = probabilities[np.arange(len(answers)), chosen] < below
    return answers.assign(predicted=answers["predicted"].mask(unsure, None))


def as_csv(
    answers: pd.DataFrame, classes: Sequence[str], calibration: Calibration | None
) -> pd.DataFrame:
    """Return the answers with each set as its classes, separated by semicolons.

    With a calibration the column `ALWAYS` says of every row which of them say nothing.
    """
    joined = {
        column: answers[column].map(lambda names: ";".join(names) if _is_set(names) else None)
        for column in SETS.values()
        if column in answers
    }
    if calibration is not None:
        known = ";".join(calibration.always_inside(classes)["by_class"])
        joined[ALWAYS] = joined[SETS["by_class"]].where(lambda sets: sets.isna(), known)
    return answers.assign(**joined)


def as_json(answers: pd.DataFrame, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return an entry for each image, and then for each patient."""
    calibrated = calibrated_columns(classes)
    entries = []
    for row in answers.to_dict("records"):
        entry: dict[str, Any] = {
            "image": row["image"],
            "predicted": row["predicted"] if isinstance(row["predicted"], str) else None,
            "probabilities": {name: float(row[name]) for name in classes},
        }
        if calibrated[0] in row:
            pairs = zip(classes, calibrated, strict=True)
            entry["calibrated"] = {name: float(row[column]) for name, column in pairs}
        for kind, column in SETS.items():
            if _is_set(row.get(column)):
                entry["set" if kind == "marginal" else "set_by_class"] = list(row[column])
        if isinstance(row.get(HEAT_MAP), str):  # a patient's mean has none
            entry["heat_map"] = row[HEAT_MAP]
        entries.append(entry)
    return entries


def _is_set(value: object) -> bool:
    return isinstance(value, tuple)  # a patient's mean has none
