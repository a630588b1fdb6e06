"""A run's predictions in the ISIC 2018 challenge's format, checked and in the truth's order."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from data_partition.errors import DataError
from data_partition.truth_file import CHALLENGE_CLASSES, CHALLENGE_COLUMNS
from training.errors import RunFolderError
from training.run_folder import RunFolder

CLASSES = list(CHALLENGE_CLASSES)

_NAMES_SHOWN = 3


def read_answers(
    folder: RunFolder, head: str | None, image_ids: list[str], truth: Path
) -> pd.DataFrame:
    """Read the predictions of a run's network, or of a head on its features.

    Args:
        head: name of the head, or None for the network.
        image_ids: of the ground truth, unique.

    Returns:
        One row for each of ``image_ids``, in their order; index 0 … n - 1. Columns ``image_id``,
        ``label``, a float32 probability for each of ``CLASSES``, and for a head ``predicted``.

    Raises:
        RunFolderError: there is no such file, it is not a table with these columns, an image has
            two rows, a probability is not a number in [0, 1], or a prediction is not a class.
        DataError: the images are not those of the ground truth.
    """
    path = folder.path / f"predictions-{_test_set(head)}.csv"
    if not path.is_file():
        remedy = "run it with a global test set" if head is None else "run fedskin heads first"
        raise RunFolderError(f"{path}: there are no such predictions; {remedy}")
    try:
        table = folder.predictions(_test_set(head))
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).splitlines()[0]
        raise _changed(path, f"is not a readable table ({reason})") from error
    _check(table, path, head)
    numbers = table[CLASSES].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    impossible = np.argwhere(~((numbers >= 0) & (numbers <= 1)))
    if len(impossible):
        row, column = impossible[0]
        value = table[CLASSES].iloc[row, column]
        raise _changed(
            path,
            f"image {table['image_id'].iloc[row]} has {str(value)!r} for {CLASSES[column]}, which "
            "is not a number in [0, 1]",
        )
    # Back to the run's float32 values: then exactly the run's ties are ties.
    table[CLASSES] = numbers.astype(np.float32)
    _check_images(set(table["image_id"]), set(image_ids), path, truth)
    return table.set_index("image_id").loc[image_ids].reset_index()


def as_submission(answers: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the challenge's columns: ``image`` and ``CHALLENGE_COLUMNS``."""
    table = answers[["image_id", *(name.lower() for name in CHALLENGE_COLUMNS)]]
    return table.set_axis(["image", *CHALLENGE_COLUMNS], axis=1)


def _test_set(head: str | None) -> str:
    return "global_test" if head is None else f"heads-{head}"


def _check(table: pd.DataFrame, path: Path, head: str | None) -> None:
    needed = ["image_id", "label", *CLASSES, *(["predicted"] if head else [])]
    if missing := [name for name in needed if name not in table.columns]:
        raise _changed(path, f"lacks the column {', '.join(missing)}")
    twice = table["image_id"][table["image_id"].duplicated()]
    if len(twice):
        raise _changed(path, f"image {twice.iloc[0]} has two rows")
    if head:
        unknown = table[~table["predicted"].isin(CLASSES)]
        if len(unknown):
            image_id, answer = unknown.iloc[0][["image_id", "predicted"]]
            raise _changed(
                path, f"image {image_id} has the prediction {answer!r}, which is not a class"
            )


def _check_images(answered: set[str], true: set[str], path: Path, truth: Path) -> None:
    if answered != true:
        raise DataError(
            f"{truth}: has other images than {path.name}; only in the truth: "
            f"{_listed(true - answered)}; only in the predictions: {_listed(answered - true)}; "
            "give the ground truth of the run's test set"
        )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMES_SHOWN]) or "none"
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _changed(path: Path, fault: str) -> RunFolderError:
    return RunFolderError(f"{path}: {fault}; restore the file as the run wrote it")
