"""A campaign's folder: its files, its lock, and the state of each trial."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from filelock import FileLock, Timeout

from experiments.campaigns.trial import PLACES, Trial, is_done
from operation.files import parse_json, write_json, write_text
from training.config import ExperimentConfig
from training.config_file import read_config
from training.errors import ConfigError, RunFolderError
from training.experiment_data import DataFacts
from training.head_run import network_run
from training.run_folder import RunFolder
from training.run_state import RunState
from training.study import resolve, resolve_like


@dataclass(frozen=True)
class Planned:
    """A trial of the plan."""

    id: str  # see `Trial.id`; also the name of its folder
    command: str
    config: dict[str, Any]  # flat, as written


@dataclass(frozen=True)
class State:
    """The state of a trial."""

    state: RunState
    cause: str  # of a failure, one line
    attempt: dict[str, Any]  # the record of its last attempt, empty before the first


class CampaignFolder:
    """One campaign's folder, described in docs/campaigns.md."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Return whether this folder holds a campaign."""
        return (self.path / "plan.json").is_file()

    def run_folder(self, trial_id: str) -> RunFolder:
        """Return the run folder of a trial."""
        return RunFolder(self.path / "trials" / trial_id)

    def log_path(self, trial_id: str) -> Path:
        """Return the path of a trial's log."""
        return self.path / "logs" / f"{trial_id}.log"

    def config_path(self, trial_id: str) -> Path:
        """Return the path of the config that a trial is started with."""
        return self.path / "configs" / f"{trial_id}.toml"

    def places(self, trial_id: str) -> tuple[Path, ...]:
        """Return the paths of everything about a trial; not all need to be there."""
        return (
            self.config_path(trial_id),
            self._attempt_path(trial_id),
            self.log_path(trial_id),
            self.run_folder(trial_id).path,
        )

    def attempt(self, trial_id: str) -> dict[str, Any]:
        """Read the record of a trial's last attempt; empty before the first."""
        try:
            record = parse_json(self._attempt_path(trial_id).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def write_attempt(self, trial_id: str, record: dict[str, Any]) -> None:
        """Write the record of a trial's attempt; it replaces the previous one."""
        write_json(self._attempt_path(trial_id), record)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock this campaign for this process; at the end remove a new folder that stayed empty.

        Raises:
            RunFolderError: another process runs it.
        """
        path, is_new = self.path / ".lock", not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(path).acquire(timeout=1)
        except Timeout:
            raise RunFolderError(
                f"{self.path}: another fedskin campaign run uses this folder; see its progress "
                f"with  fedskin campaign status {self.path}"
            ) from None
        with held:
            try:
                yield
            finally:
                if is_new and list(self.path.iterdir()) == [path]:  # the campaign was refused
                    path.unlink()
                    self.path.rmdir()

    def is_locked(self) -> bool:
        """Return whether a process runs this campaign."""
        try:
            with self.lock():
                return False
        except RunFolderError:
            return True

    def plan(self) -> tuple[str, list[Planned]]:
        """Return the campaign's name and the trials of the last `campaign run`.

        Raises:
            RunFolderError: this is no campaign's folder.
        """
        path = self.path / "plan.json"
        try:
            plan = parse_json(path.read_text(encoding="utf-8"))
            return plan["name"], [Planned(**trial) for trial in plan["trials"]]
        except FileNotFoundError:
            if self._holds_others():
                advice = "name the folder that fedskin campaign run was given as --out"
            else:
                advice = f"start one with  fedskin campaign run CAMPAIGN.toml --out {self.path}"
            raise RunFolderError(f"{self.path}: holds no campaign; {advice}") from None
        except (ValueError, TypeError, KeyError):
            raise RunFolderError(
                f"{path}: is not a plan of this version; fedskin campaign run writes a new one"
            ) from None

    def take(self, name: str) -> None:
        """Refuse this folder if it belongs to another campaign or holds other files."""
        if self.exists():
            theirs = _name_in(self.path / "plan.json")
            if theirs not in (None, name):
                raise RunFolderError(
                    f"{self.path}: belongs to campaign {theirs!r}, not {name!r}; choose another "
                    "--out, or give both campaigns the same name to put them into one folder"
                )
        elif self._holds_others():
            raise RunFolderError(f"{self.path}: holds other files; choose an empty folder")

    def _holds_others(self) -> bool:
        """Return whether this folder, which has no plan, holds files of something else."""
        return any(self.path.glob("[!.]*")) and not (self.path / "trials").is_dir()

    def write_plan(self, name: str, planned: Iterable[Planned]) -> None:
        """Write the list of the campaign's trials."""
        trials = [{"id": t.id, "command": t.command, "config": t.config} for t in planned]
        write_json(self.path / "plan.json", {"name": name, "trials": trials})

    def write_config(self, trial_id: str, trial: Trial) -> None:
        """Write the config that a trial is started with; it can also be run by hand."""
        flat = {k: v for k, v in trial.config.to_flat().items() if k != "run-dir"}
        write_text(self.config_path(trial_id), tomli_w.dumps(flat))

    def record(self, trial_id: str, outcome: RunState, cause: str = "") -> None:
        """Add an outcome to the record of a trial's last attempt."""
        record = {**self.attempt(trial_id), "outcome": outcome, "cause": cause}
        self.write_attempt(trial_id, record)

    def trial_config(self, trial_id: str) -> dict[str, Any]:
        """Read the config that a trial is started with, flat."""
        return read_config(self.config_path(trial_id)).to_flat()

    def states(self, planned: Iterable[Planned], *, at_work: bool) -> dict[str, State]:
        """Return the state of each trial, in the plan's order.

        Args:
            at_work: whether a process runs the campaign; if not, running trials count as waiting.
        """
        return {trial.id: self._state(trial, at_work=at_work) for trial in planned}

    def _state(self, trial: Planned, *, at_work: bool) -> State:
        attempt = self.attempt(trial.id)
        try:
            done = is_done(trial.command, self.run_folder(trial.id))
        except (RunFolderError, OSError, ValueError):
            done = False  # a damaged folder; `move_aside` moves it away
        if done:
            return State(RunState.COMPLETED, "", attempt)
        if attempt.get("outcome") == RunState.FAILED:
            return State(RunState.FAILED, str(attempt.get("cause")), attempt)
        if attempt.get("outcome") == RunState.RUNNING and at_work:
            return State(RunState.RUNNING, "", attempt)
        return State(RunState.WAITING, "", attempt)

    def make_room(self, trial_id: str, trial: Trial, facts: DataFacts) -> Path | None:
        """Move away a folder with a trial's name if it is damaged or not of this trial.

        A folder that a kill has left without a config is removed. If the images were moved, or an
        overlap is now allowed, the run folder's config is updated.

        Returns:
            Where it was moved to, None if nothing was moved.
        """
        folder = self.run_folder(trial_id)
        if not folder.path.exists():
            return None
        if not folder.exists():
            if any(folder.path.glob("[!.]*")):
                return self.move_aside(trial_id)
            shutil.rmtree(folder.path)
            return None
        config = _config_of(folder, trial, facts)
        if config is None or (trial.command == "heads" and not self._network_is_there(folder)):
            return self.move_aside(trial_id)
        if config != folder.config():
            write_text(folder.path / "config.toml", config.to_toml())
        return None

    def _network_is_there(self, folder: RunFolder) -> bool:
        """Return whether heads on another trial's network are finished or can be finished."""
        try:
            source = network_run(folder)
            return source.path == folder.path or is_done("heads", folder) or has_network(source)
        except (RunFolderError, OSError, KeyError, TypeError):  # damaged
            return False

    def move_aside(self, trial_id: str) -> Path:
        """Move a trial's folder to ``set-aside/`` and return its new path."""
        aside = self.path / "set-aside"
        aside.mkdir(exist_ok=True)
        number = 1
        while (target := aside / f"{trial_id}-{number}").exists():
            number += 1
        self.run_folder(trial_id).path.rename(target)
        return target

    def _attempt_path(self, trial_id: str) -> Path:
        return self.path / "attempts" / f"{trial_id}.json"


def _name_in(path: Path) -> str | None:
    try:
        return str(parse_json(path.read_text(encoding="utf-8"))["name"])
    except (ValueError, TypeError, KeyError):
        return None


def has_network(folder: RunFolder) -> bool:
    """Return whether a run folder holds its own trained network."""
    try:
        return folder.is_completed() and folder.checkpoint.progress().round > 0
    except RunFolderError:
        return False


def _config_of(folder: RunFolder, trial: Trial, facts: DataFacts) -> ExperimentConfig | None:
    """Return the config to continue with in a run folder, None if it does not hold this trial."""
    try:
        ours, manifest = folder.config(), folder.manifest()
        folder.checkpoint.progress()
        theirs = resolve(
            resolve_like(trial.config.replace(run_dir=ours.run_dir), ours),
            dataset=facts.dataset,
            device=ours.device,
            threads_per_client=ours.threads_per_client,
        )
    except (RunFolderError, ConfigError, OSError, UnicodeDecodeError):
        return None
    data = manifest.get("data")
    if not isinstance(data, dict):  # not read yet
        data = {}
    same = (
        ours.identity() | dict.fromkeys(PLACES, "") == theirs.identity() | dict.fromkeys(PLACES, "")
        and manifest.get("command", trial.command) == trial.command
        and data.get("fingerprint", facts.fingerprint) == facts.fingerprint
        and data.get("test_fingerprint", facts.test_fingerprint) == facts.test_fingerprint
    )
    told = (*PLACES, "cache-dir", "allow-overlap")
    news = {key.replace("-", "_"): theirs.to_flat()[key] for key in told}
    return ours.replace(**news) if same else None
