"""The finished trials of a campaign in MLflow or TensorBoard, each sent once.

A trial's MLflow run has the trial's id as a tag and is FINISHED only when all of it has arrived. A
trial that was sent only in part (after a kill or a lost connection) is completed the next time.
"""

import os
from collections.abc import Callable
from pathlib import Path

from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.ledger import Ledger
from experiments.tracking.event_file import EventFile
from experiments.tracking.follower import Sending
from experiments.tracking.mlflow_runs import TRIAL_TAG, MlflowRun, MlflowStore, reached
from experiments.tracking.tracker import Tracker
from training.run_folder import RunFolder
from training.run_state import RunState


def check_tracker(folder: Path, tracker: str) -> None:
    """Refuse a tracker that `track` could not send to, before anything is trained.

    Args:
        folder, tracker: as of `track`.

    Raises:
        ConfigError: it is not installed, or does not answer or refuses.
        RunFolderError: the folder holds no campaign.
    """
    if tracker == "tensorboard":
        EventFile(folder)
    else:
        reached(*_store_of(folder))


def _store_of(folder: Path) -> tuple[str, str, Path]:
    """Return the arguments of a campaign's `MlflowStore`."""
    name, _ = CampaignFolder(folder).plan()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute()}/mlflow.db"
    return uri, name, folder


def track(ledger: Ledger, folder: Path, tracker: str) -> int:
    """Send every trial of a ledger that a tracker does not have yet.

    Args:
        folder: the campaign's; its name in ``plan.json`` becomes the experiment's name in MLflow.
        tracker: ``mlflow``: the server that the environment variable ``MLFLOW_TRACKING_URI`` names,
            or if it is not set ``mlflow.db`` in the campaign's folder. ``tensorboard``: a file in
            each trial's folder.

    Returns:
        How many trials were sent.

    Raises:
        ConfigError: the tracker is not installed.
        RunFolderError: the folder holds no campaign.
        TrackingError: it does not answer or refuses. The next call sends the rest.
    """
    server = _store_of(folder)
    trials = {trial_id: folder / "trials" / trial_id for trial_id in ledger.records}
    open_one: Callable[[Path], Tracker]
    if tracker == "tensorboard":
        known = {trial_id for trial_id, path in trials.items() if EventFile(path).is_completed()}
        open_one = EventFile
    else:
        store = MlflowStore(*server)
        known = store.finished(TRIAL_TAG)

        def open_one(trial: Path) -> Tracker:
            return MlflowRun(store, TRIAL_TAG, lambda: trial.name, trial.name)

    missing = [path for trial_id, path in trials.items() if trial_id not in known]
    for path in missing:
        Sending(open_one(path), RunFolder(path)).end(RunState.COMPLETED, "")
    return len(missing)
