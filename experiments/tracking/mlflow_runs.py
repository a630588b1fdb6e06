"""Runs in MLflow, found again by a tag.

Whatever was interrupted is continued: a round that arrived in part is sent again with the same
times, and MLflow keeps equal figures once.
"""

import os
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.tracking.points import Point
from experiments.tracking.tracker import Tracker, TrackingError
from operation.files import read_json, write_json
from training.config import Scalar
from training.errors import ConfigError
from training.run_state import RunState

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN_TAG = "fedskin.run"
TRIAL_TAG = "fedskin.trial"
_COMPLETE_TAG, _CAUSE_TAG = "fedskin.complete", "fedskin.cause"  # how the run ended

# How long MLflow waits, unless the environment says otherwise: for its first answer, and later.
_WAITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": ("0", "2"),
    "MLFLOW_HTTP_REQUEST_TIMEOUT": ("5", "20"),
}

# MLflow's limit of a parameter's and a tag's value.
_VALUE_LENGTH = 6000
_STATES = {
    RunState.COMPLETED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.STOPPED: "KILLED",
}


class MlflowStore:
    """An experiment at an MLflow server, which is made if it is missing.

    Args:
        uri: MLflow's tracking URI.
        experiment: its name.
        kept: where the results are, for the error if MLflow does not accept them.

    Raises:
        ConfigError: MLflow is not installed.
        TrackingError: the server does not answer or refuses.
    """

    def __init__(self, uri: str, experiment: str, kept: Path) -> None:
        _quieten()
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise ConfigError(
                "--track mlflow: MLflow is not installed; in the checkout: "
                "pip install -c constraints.txt -e '.[mlflow]'"
            ) from None
        self._uri, self._kept = uri, kept
        with self.accepting():
            _check_file(uri)
            self.client = MlflowClient(tracking_uri=uri)
            with _hurry():
                found = self.client.get_experiment_by_name(experiment)
            self.experiment = str(
                self.client.create_experiment(experiment) if found is None else found.experiment_id
            )

    @contextmanager
    def accepting(self) -> Iterator[None]:
        """Turn MLflow's errors into a `TrackingError`."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, ModuleNotFoundError) as error:
            why = f"does not accept the results ({str(error).strip().splitlines()[0]})"
            if isinstance(error.__context__, OSError):  # of requests: no answer, or no such host
                why = "does not answer"
            if isinstance(error, ModuleNotFoundError):  # a database's driver
                why = f"needs the Python package {error.name}, which is not installed"
            raise TrackingError(
                re.sub(r"://[^/@\s]*@", "://", f"{self._uri}: {why}"),  # without a password
                f"the results are all in {self._kept}, and the next --track mlflow sends what is "
                "missing",
            ) from None

    def finished(self, tag: str) -> set[str]:
        """Return the values that a tag has in runs that are finished."""
        found: set[str] = set()
        token = None
        with self.accepting():
            while True:
                page = self.client.search_runs([self.experiment], page_token=token)
                ended = [run.data.tags for run in page if run.info.status == "FINISHED"]
                found |= {tags[tag] for tags in ended if tag in tags}
                token = page.token
                if not token:
                    return found

    def find(self, tag: str, value: str) -> "Run | None":
        """Return the run with that tag; None if there is none, or it was deleted."""
        with self.accepting():
            page = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'")
        return page[0] if page else None


class MlflowRun(Tracker):
    """One run of a store.

    Args:
        tag: the name of the tag by which it is found again.
        identity: returns the tag's value; called when the run begins.
        name: the run's, to be shown.
    """

    def __init__(
        self, store: MlflowStore, tag: str, identity: Callable[[], str], name: str
    ) -> None:
        self._store, self._tag, self._identity, self._name = store, tag, identity, name
        self._id = ""  # MLflow's

    def begin(self, config: Mapping[str, Scalar], tags: Mapping[str, str], started: int) -> int:
        from mlflow.entities import Param

        store, client = self._store, self._store.client
        identity = self._identity()
        run = store.find(self._tag, identity)
        with store.accepting():
            if run is None:
                run = client.create_run(
                    store.experiment,
                    start_time=started,
                    run_name=self._name,
                    tags={self._tag: identity, **tags},
                )
            elif run.info.status != "RUNNING":
                client.update_run(run.info.run_id, status="RUNNING")
                for tag in run.data.tags.keys() & {_COMPLETE_TAG, _CAUSE_TAG}:
                    client.delete_tag(run.info.run_id, tag)
            self._id = run.info.run_id
            texts = {key: str(value)[:_VALUE_LENGTH] for key, value in config.items()}
            known = run.data.params
            missing = [Param(key, text) for key, text in texts.items() if key not in known]
            client.log_batch(self._id, params=missing)
            for key in known.keys() & texts.keys():
                if known[key] != texts[key]:  # which MLflow lets nobody change
                    client.set_tag(self._id, f"config.{key}", texts[key])
            rounds = client.get_metric_history(self._id, "seconds")
        return max((point.step for point in rounds), default=0)

    def add_round(self, points: Sequence[Point]) -> None:
        self._add(points)

    def add_figures(self, points: Sequence[Point]) -> None:
        with self._store.accepting():
            latest = self._store.client.get_run(self._id).data.metrics
        self._add([point for point in points if latest.get(point.name) != point.value])

    def _add(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        with self._store.accepting():
            self._store.client.log_batch(self._id, metrics=[Metric(*point) for point in points])

    def end(self, state: RunState, said: str, time: int) -> None:
        completed = state == RunState.COMPLETED
        tag = _COMPLETE_TAG if completed else _CAUSE_TAG
        text = said or ("yes" if completed else "unknown")
        with self._store.accepting():
            self._store.client.set_tag(self._id, tag, text[:_VALUE_LENGTH])
            self._store.client.set_terminated(self._id, _STATES[state], end_time=time)


def of_single_run(run: Path) -> MlflowRun:
    """Return the MLflow run of a run folder, which need not exist yet.

    The server is that of ``MLFLOW_TRACKING_URI``, otherwise ``mlflow.db`` beside the run folder;
    the experiment that of ``MLFLOW_EXPERIMENT_NAME``, otherwise ``fedskin``.

    Raises:
        ConfigError: MLflow is not installed, or the server does not answer.
    """
    beside = f"sqlite:///{run.absolute().parent}/mlflow.db"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or beside
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "fedskin"
    store = reached(uri, experiment, run)
    return MlflowRun(store, RUN_TAG, lambda: _identity(run), run.name)


def reached(uri: str, experiment: str, kept: Path) -> MlflowStore:
    """Return a store before anything is trained; for the arguments see there.

    Raises:
        ConfigError: MLflow is not installed, or the server does not answer or refuses.
    """
    try:
        return MlflowStore(uri, experiment, kept)
    except TrackingError as error:
        raise ConfigError(
            f"--track mlflow: {error.reason}; nothing was trained: start that server, set "
            "MLFLOW_TRACKING_URI to another, or leave out --track"
        ) from None


def _check_file(uri: str) -> None:
    """Raise sqlite3.Error if a database file cannot be written: MLflow would try for two minutes.

    Args:
        uri: of any kind.
    """
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    with suppress(OSError):  # as MLflow does
        path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("BEGIN IMMEDIATE")


def _identity(run: Path) -> str:
    """Return by what a run folder's MLflow run is found again; it is kept in the folder."""
    path = run / "tracking.json"
    kept = (read_json(path) or {}).get("mlflow")
    if isinstance(kept, str) and re.fullmatch("[0-9a-f]{32}", kept):
        return kept
    made = uuid.uuid4().hex
    write_json(path, {"mlflow": made})  # before the run is made, so that a kill leaves no second
    return made


def _quieten() -> None:
    """Set MLflow's environment before its import: no telemetry, less logging, short waits."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for name, (_, later) in _WAITS.items():
        os.environ.setdefault(name, later)


@contextmanager
def _hurry() -> Iterator[None]:
    """Wait less within the block, so that a server that is not there is soon known."""
    ours = {name: waits for name, waits in _WAITS.items() if os.environ[name] == waits[1]}
    os.environ.update({name: first for name, (first, _) in ours.items()})
    try:
        yield
    finally:
        os.environ.update({name: later for name, (_, later) in ours.items()})
