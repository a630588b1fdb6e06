"""The models of a finished run: the best, the last, and the moving average."""

from typing import Literal

from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.weights import Weights

ModelName = Literal["best", "last", "ema"]

# As they are called in sentences.
WORDS: dict[ModelName, str] = {"best": "best", "last": "last", "ema": "averaged"}


def check_has(run: RunFolder, name: ModelName) -> None:
    """Refuse a finished run that has no such model.

    Raises:
        RunFolderError: it has no moving average.
    """
    if name == "ema" and "ema" not in run.metrics():
        raise RunFolderError(f"{run.path}: has no moving average; it was run with ema-decay = 0")


def read_model(run: RunFolder, name: ModelName) -> tuple[int, Weights]:
    """Return the round of a finished run's model and its weights; of the average the last round.

    Raises:
        RunFolderError: the run has no such model, or its file cannot be read.
    """
    check_has(run, name)
    metrics = run.metrics()
    number = int(metrics["best_round" if name == "best" else "rounds"])
    read = run.checkpoint.average if name == "ema" else run.checkpoint.weights
    return number, read(number)
