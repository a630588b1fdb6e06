"""Finished runs for the tests of the score: a run folder and the answers in it, no training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_partition.ham10000_tables import HAM10000_CLASSES
from tests.support import make_config
from training.predictions import write_predictions
from training.run_folder import RunFolder


def finished_run(path: Path, labels: Mapping[str, str], probabilities: ArrayLike) -> RunFolder:
    """A finished run whose network gave these answers (n, 7), in the order of the labels."""
    folder = RunFolder(path)
    folder.create(make_config())
    folder.update_manifest(status="completed", data={"synthetic": False})
    write_answers(folder, "global_test", labels, probabilities)
    return folder


def write_answers(
    folder: RunFolder,
    test_set: str,
    labels: Mapping[str, str],
    probabilities: ArrayLike,
    predicted: Sequence[str] | None = None,
) -> None:
    rows = pd.DataFrame(
        {"image_id": list(labels), "label": list(labels.values()), "lesion_id": None}
    )
    answers = np.asarray(probabilities, dtype=np.float32)
    write_predictions(
        folder.predictions_path(test_set), rows, answers, HAM10000_CLASSES, predicted=predicted
    )


def sure_of(*labels: str) -> NDArray[np.float32]:
    """Answers (n, 7), each certain of one class."""
    indices = [HAM10000_CLASSES.index(label) for label in labels]
    return np.eye(len(HAM10000_CLASSES), dtype=np.float32)[indices]


def neighbours_answers(num_images: int, seed: int) -> tuple[dict[str, str], NDArray[np.float32]]:
    """Labels and answers (n, 7) as of five neighbours: a fifth for each, so that ties abound."""
    rng = np.random.default_rng(seed)
    true = np.arange(num_images) % 7
    near = np.where(
        rng.random((num_images, 5)) < 0.4, true[:, None], rng.integers(0, 7, (num_images, 5))
    )
    counts = (near[:, :, None] == np.arange(7)).sum(axis=1)
    ids = [f"ISIC_{35068 - number:07d}" for number in range(num_images)]  # the left-out one first
    labels = {name: HAM10000_CLASSES[index] for name, index in zip(ids, true, strict=True)}
    return labels, (counts / 5).astype(np.float32)


LABELS = {
    "ISIC_0034524": "nv",
    "ISIC_0034525": "nv",
    "ISIC_0034526": "akiec",
    "ISIC_0034527": "bcc",
    "ISIC_0034528": "bkl",
    "ISIC_0034529": "df",
    "ISIC_0034530": "vasc",
    "ISIC_0034531": "mel",
    "ISIC_0035068": "bkl",
}
# All are right but the last two: of mel it is undecided between mel and nv, and the image that
# the official rules leave out is answered nv.
ANSWERS = sure_of(*list(LABELS.values())[:8], "nv")
ANSWERS[7] = [0, 0, 0, 0, 0.5, 0.5, 0]


class Ended(NamedTuple):
    status: int
    output: str
    errors: list[str]


Score = Callable[..., Ended]
