"""The ledger in MLflow: one MLflow run for each finished trial, sent once.

A trial's MLflow run has the trial's id as a tag and is FINISHED only when all of it has arrived. A
run that was sent only in part (after a kill or a lost connection) is replaced the next time.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.campaigns.finished_trial import FinishedTrial, read_finished
from experiments.campaigns.ledger import BY_CLASS, Ledger
from training.errors import ConfigError
from training.scores import scores_with

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

TRIAL_TAG = "fedskin.trial"

# MLflow's limits: characters of a parameter's value, of a name.
_VALUE_LENGTH, _NAME_LENGTH = 6000, 250
_TOTALS = ("seconds", "seconds_transport", "seconds_waiting", "bytes_sent", "bytes_received")
_NOT_IN_NAMES = re.compile(r"[^\w.\- ]")


class TrackingError(RuntimeError):
    """An MLflow server did not accept the results; the message is one line and nothing is lost."""


class _Point(NamedTuple):
    """A figure at one time."""

    name: str
    value: float
    milliseconds: int  # since 1970
    step: int


def track(ledger: Ledger, folder: Path, uri: str | None) -> int:
    """Send every trial of a ledger that the MLflow server does not have yet.

    Args:
        folder: the campaign's; its name in ``plan.json`` becomes the experiment's name.
        uri: MLflow's tracking URI; None: the environment variable ``MLFLOW_TRACKING_URI``, or if it
            is not set, ``mlflow.db`` in the campaign's folder.

    Returns:
        How many trials were sent.

    Raises:
        ConfigError: MLflow is not installed.
        RunFolderError: the folder holds no campaign.
        TrackingError: the server does not answer or refuses. The next call sends the rest.
    """
    name, _ = CampaignFolder(folder).plan()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute()}/mlflow.db"
    _quieten()
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise ConfigError(
            "--track mlflow: MLflow is not installed; in the checkout: "
            "pip install -c constraints.txt -e '.[mlflow]'"
        ) from None
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, name)
        known = _sent(client, experiment)
        sent = 0
        for trial_id, rows in ledger.table.groupby("trial"):
            if trial_id in known:
                continue
            trial = read_finished(folder / "trials" / str(trial_id))
            if trial is not None:
                _send(client, experiment, trial, rows)
                sent += 1
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingError(
            re.sub(  # without a password
                r"://[^/@\s]*@",
                "://",
                f"{uri}: does not accept the results ({str(error).strip().splitlines()[0]}); they "
                f"are all in {folder}, and the next --track mlflow sends what is missing",
            )
        ) from None
    return sent


def _quieten() -> None:
    """Set MLflow's environment before its import: no telemetry, less logging, few retries."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _sent(client: "MlflowClient", experiment: str) -> set[str]:
    """Return the trials that have arrived completely, and remove those that arrived in part."""
    known = set()
    for run in list(_runs(client, experiment)):
        trial = run.data.tags.get(TRIAL_TAG)
        if trial is not None and run.info.status == "FINISHED":
            known.add(trial)
        elif trial is not None:
            client.delete_run(run.info.run_id)
    return known


def _runs(client: "MlflowClient", experiment: str) -> "Iterator[Run]":
    token = None
    while True:
        page = client.search_runs([experiment], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _send(
    client: "MlflowClient", experiment: str, trial: FinishedTrial, rows: pd.DataFrame
) -> None:
    from mlflow.entities import Metric, Param

    manifest = trial.manifest
    run = client.create_run(
        experiment,
        start_time=_milliseconds(manifest.started),
        run_name=trial.id,
        tags={
            TRIAL_TAG: trial.id,
            "fedskin.command": manifest.command,
            "fedskin.images": "SYNTHETIC" if manifest.data.synthetic else "real",
            "fedskin.complete": (rows["absences"].iloc[0] or "yes")[:_VALUE_LENGTH],
        },
    ).info.run_id
    flat = trial.config.to_flat().items()
    client.log_batch(
        run,
        metrics=[Metric(*point) for point in (*_curves(trial), *_totals(trial, rows))],
        params=[Param(key, str(value)[:_VALUE_LENGTH]) for key, value in flat],
    )
    client.set_terminated(run, "FINISHED", end_time=_milliseconds(manifest.finished))


def _curves(trial: FinishedTrial) -> Iterator[_Point]:
    """Yield the figures of each round, at the time of the round."""
    time, scores = float(_milliseconds(trial.manifest.started)), scores_with(trial.config.best_by)
    for record in trial.rounds:
        time += 1000 * record.seconds.round
        values = {
            "train_loss": record.train_loss,
            "seconds": record.seconds.round,
            "seconds_transport": record.seconds.transport,
            "seconds_waiting": record.seconds.waiting,
            "bytes_sent": record.bytes_sent,
            "bytes_received": record.bytes_received,
            **{
                f"validation.{name}": getattr(record.validation.pooled, name, None)
                for name in scores
            },
        }
        for name, value in values.items():
            if value is not None:
                yield _Point(name, value, int(time), record.round)


def _totals(trial: FinishedTrial, rows: pd.DataFrame) -> Iterator[_Point]:
    """Yield the best model's figures on each test set, and the totals of the trial."""
    values: dict[str, Any] = {f"total.{name}": rows[name].iloc[0] for name in _TOTALS}
    values["peak_memory"] = rows["peak_memory"].iloc[0]
    kinds = ("recall", *BY_CLASS)
    by_class = [str(name) for name in rows if str(name).partition(".")[0] in kinds]
    scores = scores_with(trial.config.best_by)
    for _, row in rows.iterrows():
        unit = ".patient" if row["unit"] == "patient" else ""
        for metric in (*scores, *by_class):
            name = _NOT_IN_NAMES.sub("_", f"{row['test_set']}.{row['model']}.{metric}{unit}")
            values[name[-_NAME_LENGTH:]] = row[metric]
    finished = _milliseconds(trial.manifest.finished)
    for name, value in values.items():
        if pd.notna(value):
            yield _Point(name, float(value), finished, trial.metrics.best_round)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
