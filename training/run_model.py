"""The models of a finished run: the best, the last, and the moving average."""

from collections.abc import Iterable
from typing import Literal

from strategies.methods import DEFAULT, METHODS
from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.weights import Weights
from training.whole_files import of_this_version

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


def check_trained(run: RunFolder, names: Iterable[str]) -> None:
    """Refuse arrays that stay at the clients: a run of all clients has them as they began.

    Args:
        names: the arrays of the weights that are to be used.

    Raises:
        RunFolderError: the run's method leaves some of them at the clients.
    """
    strategy = run.config().strategy
    names = set(names)
    local = METHODS[strategy].local_names(names)
    if local:
        remedy = (
            "a simulation judges the clients' own models and makes no model files of them; run a "
            f"method with a shared model, such as strategy = {DEFAULT}"
        )
        if run.manifest()["command"] == "run":
            remedy = "use a site's model file, which has them trained (fedskin site model)"
        raise RunFolderError(
            f"{run.path}: with strategy = {strategy} {len(local)} of the network's {len(names)} "
            f"arrays stay at each client, and this folder has them as they began; {remedy}"
        )


def read_model(run: RunFolder, name: ModelName) -> tuple[int, Weights]:
    """Return the round of a finished run's model and its weights; of the average the last round.

    Raises:
        RunFolderError: the run has no such model, or its file cannot be read.
    """
    check_has(run, name)
    metrics = run.metrics()
    with of_this_version(run.path / "metrics.json"):
        number = int(metrics["best_round" if name == "best" else "rounds"])
    read = run.checkpoint.average if name == "ema" else run.checkpoint.weights
    return number, read(number)
