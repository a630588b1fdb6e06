"""The trackers by name: MLflow and TensorBoard."""

from pathlib import Path

from experiments.tracking.tracker import Tracker
from training.errors import ConfigError

TITLES = {"mlflow": "MLflow", "tensorboard": "TensorBoard"}


def tracker_of_run(name: str | None, run: Path) -> Tracker | None:
    """Return the tracker of a single run, after reaching it.

    Args:
        name: ``mlflow`` or ``tensorboard``; None for none.
        run: the run folder; it need not exist yet.

    Raises:
        ConfigError: there is no such tracker, it is not installed, or it does not answer.
    """
    if name is None:
        return None
    # Imported here: both are optional, and MLflow takes seconds to import.
    if name == "mlflow":
        from experiments.tracking.mlflow_runs import of_single_run

        return of_single_run(run)
    if name == "tensorboard":
        from experiments.tracking.event_file import EventFile

        return EventFile(run)
    raise ConfigError(f"--track {name}: allowed are {' and '.join(TITLES)}")
