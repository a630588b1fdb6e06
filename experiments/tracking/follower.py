"""A single run, tracked while it goes on: a thread sends what its folder newly holds.

So nothing waits for the tracker, and it makes no difference who runs the rounds: this process, a
simulation's, or a coordinator's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from experiments.campaigns.finished_trial import read_completed, read_round
from experiments.console import Console, marked, shown
from experiments.tracking.points import final_points, milliseconds, round_points
from experiments.tracking.tracker import Tracker, TrackingError
from training.errors import ConfigError, RunFolderError
from training.rounds_file import NewLines
from training.run_folder import RunFolder
from training.run_state import INTERRUPTED, RunState

TITLES = {"mlflow": "MLflow", "tensorboard": "TensorBoard"}
"""The trackers by name."""

POLL_SECONDS = 1.0
# After an error, a tracker is left alone for so long.
_RETRY_SECONDS = 30.0


def check_known(name: str | None) -> None:
    """Refuse a name that no tracker has; None is for none.

    Raises:
        ConfigError: it is unknown.
    """
    if name is not None and name not in TITLES:
        raise ConfigError(f"--track {name}: allowed are {' and '.join(TITLES)}")


def tracker_of_run(name: str | None, run: Path) -> Tracker | None:
    """Return the tracker of a single run, after reaching it.

    Args:
        name: one of ``TITLES``; None for none.
        run: the run folder; it need not exist yet.

    Raises:
        ConfigError: there is no such tracker, it is not installed, or it does not answer.
    """
    check_known(name)
    if name is None:
        return None
    # Imported here: both are optional, and MLflow takes seconds to import.
    if name == "mlflow":
        from experiments.tracking.mlflow_runs import of_single_run

        return of_single_run(run)
    from experiments.tracking.event_file import EventFile

    return EventFile(run)


class Sending:
    """Sends a run to its tracker, each thing once.

    Args:
        folder: the run's, with a config; the run may go on.
    """

    def __init__(self, tracker: Tracker, folder: RunFolder) -> None:
        self._tracker, self._folder = tracker, folder
        self._arrived: int | None = None  # the last round at the tracker; None before the beginning
        self._lines = NewLines(folder.rounds_file.path)
        self._waiting: deque[bytes] = deque()  # lines that were read, and not sent
        self._read = 0  # the last round
        self._time = 0

    def rounds(self) -> None:
        """Send what is known of the run, and the rounds that are not there yet.

        Raises:
            RunFolderError: a file is damaged.
            TrackingError: the next call sends the rest.
        """
        config = self._folder.config()
        if self._arrived is None:
            manifest = self._folder.manifest()
            started = manifest.get("started")
            self._time = milliseconds(datetime.fromisoformat(started)) if started else _now()
            self._arrived = self._tracker.begin(config.to_flat(), _tags(manifest), self._time)
        self._waiting.extend(self._lines.read())
        while self._waiting:
            record = read_round(self._waiting[0])
            after = self._time + int(1000 * record.seconds.round)
            if record.round > self._arrived:
                self._tracker.add_round(round_points(record, after, config.best_by))
                self._arrived = record.round
            if record.round > self._read:
                self._read, self._time = record.round, after
            self._waiting.popleft()

    def end(self, state: RunState, cause: str) -> None:
        """Send all that is left of a run that has ended, and how it ended.

        Raises:
            RunFolderError, TrackingError: as above.
        """
        self.rounds()
        if state != RunState.COMPLETED:
            self._tracker.end(state, cause, _now())
            return
        run = read_completed(self._folder.path)
        self._tracker.add_figures(final_points(run))
        missed = "; ".join(f"{client}: {said}" for client, said in run.absences.items())
        self._tracker.end(state, missed, milliseconds(run.manifest.finished))


@contextmanager
def tracked(
    tracker: Tracker | None, folder: RunFolder, console: Console
) -> Iterator[Callable[[RunState, str], None]]:
    """Send a run to its tracker while the block runs, and its end after it.

    A run over sites that goes on without this process stays a running one. The block may call what
    it is given with the state in which such a run ended, and the cause: the coordinator decides
    that, and writes it into the run folder later.

    What does not arrive is said in a line; the run goes on and sends it later, or when it is
    resumed.

    Args:
        tracker: None for none.
        folder: the run's; it may be made within the block.
    """
    told: list[tuple[RunState, str]] = []

    def tell(state: RunState, cause: str) -> None:
        told.append((state, cause))

    if tracker is None:
        yield tell
        return
    sending, ended = Sending(tracker, folder), Event()
    thread = Thread(target=_follow, args=(sending, folder, ended, console), daemon=True)
    thread.start()
    error: BaseException | None = None
    try:
        yield tell
    except BaseException as caught:
        error = caught
        raise
    finally:
        ended.set()
        thread.join()
        if folder.exists():
            state, cause = told[-1] if told else _ending(folder.manifest(), error)
            _finish(sending, folder, state, cause, console)


def _follow(sending: Sending, folder: RunFolder, ended: Event, console: Console) -> None:
    """Send what is new until the run has ended."""
    seen: list[tuple[int, ...]] = []
    complained = False
    wait = 0.0
    while not ended.wait(wait):
        wait = POLL_SECONDS
        stamps = folder.stamps()
        try:
            if stamps == seen or "data" not in folder.manifest():  # which a run begins with
                continue
            sending.rounds()
        except (TrackingError, RunFolderError) as error:
            if not complained:
                _complain(console, folder, error)
            complained, wait = True, _RETRY_SECONDS
        else:
            complained, seen = False, stamps


def _ending(manifest: Mapping[str, Any], error: BaseException | None) -> tuple[RunState, str]:
    """Return the state of a run after its block, and the cause.

    Args:
        error: with which the block ended.
    """
    state = RunState(manifest.get("status", RunState.RUNNING))
    cause = str(manifest.get("cause") or "")
    if isinstance(error, KeyboardInterrupt) and manifest.get("command") != "run":
        return RunState.STOPPED, INTERRUPTED
    if cause == INTERRUPTED:
        return RunState.STOPPED, cause
    if error is not None and state == RunState.COMPLETED:  # what follows the training failed
        return RunState.FAILED, str(error)
    return state, cause


def _finish(
    sending: Sending, folder: RunFolder, state: RunState, cause: str, console: Console
) -> None:
    try:
        if state == RunState.RUNNING:
            sending.rounds()
        else:
            sending.end(state, cause)
    except (TrackingError, RunFolderError) as refusal:
        _complain(console, folder, refusal)


def _complain(console: Console, folder: RunFolder, error: TrackingError | RunFolderError) -> None:
    damaged = isinstance(error, RunFolderError)
    said = f"{folder.path}: cannot be tracked to its end: {error}" if damaged else str(error)
    console.say(marked(f"[yellow]{shown(said)}[/]"))


def _tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    tags = {"fedskin.command": str(manifest.get("command"))}
    if "data" in manifest:
        tags["fedskin.images"] = "SYNTHETIC" if manifest["data"]["synthetic"] else "real"
    return tags


def _now() -> int:
    return int(1000 * time.time())
