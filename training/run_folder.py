"""The run folder: all files of a run, and the lock that keeps other processes out."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from operation.files import write_json, write_text
from training.checkpoint import Checkpoint, Progress
from training.config import ExperimentConfig
from training.config_file import parse_whole
from training.errors import ConfigError, RunFolderError
from training.extension_points import packages_of
from training.moving_average import MovingAverage
from training.predictions import read_predictions
from training.resumed_config import check_can_go_on, check_packages, same_length
from training.rounds_file import RoundsFile
from training.run_state import RunState
from training.weights import Weights
from training.whole_files import COPY, read_object

# Commands whose rounds are epochs.
CENTRALIZED = ("clip", "heads")

# The results of a completed run, and files made from its best network later.
RESULTS = (
    "metrics.json",
    "histograms.json",
    "predictions-*.csv",
    "submission*.csv",
    "score*.json",
    "heads",
    "features",
    "report",
)

_REOPENING = "resuming"  # a phase


class RunFolder:
    """One run's folder, described in docs/run-folder.md.

    Attributes:
        text_path: of the text features of a run with objective ``clip``.
        rounds_file: ``rounds.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = Checkpoint(path / "checkpoint")
        self.rounds_file = RoundsFile(path / "rounds.jsonl")
        self.log_path = path / "flower.log"
        self.text_path = path / "text-features.safetensors"

    def exists(self) -> bool:
        """Return whether this folder holds a run."""
        return (self.path / "config.toml").is_file()

    def create(self, config: ExperimentConfig) -> None:
        """Make the folder for a resolved config; it may exist with the same config.

        A resumed run may have more rounds or epochs. If it was completed, its results are then
        removed, because they belong to fewer rounds.

        Raises:
            RunFolderError: the folder holds a run of another config, or other files.
        """
        if self.exists():
            self.check_same(config)
            if self._is_reopening() or (self.is_completed() and not self.is_completed(config)):
                self._reopen()
        elif self.path.is_dir() and any(self.path.glob("[!.]*")):
            raise RunFolderError(f"{self.path}: holds other files; choose an empty folder")
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.toml", config.to_toml())
        if packages := packages_of(config.to_flat()):
            self.update_manifest(plugins=packages)

    def config(self) -> ExperimentConfig:
        """Read the resolved config of the run.

        Raises:
            RunFolderError: this is not a run folder, or one of another version.
        """
        if not self.exists():
            raise RunFolderError(f"{self.path}: is not a run folder: it has no config.toml")
        path = self.path / "config.toml"
        try:
            return parse_whole(path.read_bytes())
        except OSError as error:
            said = f"cannot be read: {error.strerror}; allow it, or copy the folder again"
            raise RunFolderError(f"{path}: {said}") from None
        except ConfigError as error:
            raise RunFolderError(f"{path}: {error}") from None

    def length_key(self) -> str:
        """Return the key of the run's length: ``rounds``, or for a centralized run ``epochs``.

        Of heads on another run's network it is that run's.
        """
        manifest = self.manifest()
        command = manifest.get("from", {}).get("command", manifest.get("command"))
        return "epochs" if command in CENTRALIZED else "rounds"

    def is_completed(self, config: ExperimentConfig | None = None) -> bool:
        """Return whether the run is completed, with the length of a config if one is given."""
        if self.manifest().get("status") != RunState.COMPLETED:
            return False
        return config is None or same_length(self.config(), config, self.length_key())

    def check_completed(self) -> None:
        """Refuse a run that is not completed.

        Raises:
            RunFolderError: it is not.
        """
        if self.is_completed():
            return
        if self.manifest().get("status") == RunState.RUNNING and self.is_held():
            raise RunFolderError(f"{self.path}: the run is still going on; wait until it ends")
        raise RunFolderError(f"{self.path}: the run is not completed; finish it with --resume")

    def check_same(self, config: ExperimentConfig) -> None:
        """Refuse a config with which the run in this folder cannot go on, or other versions of its
        plug-ins; `check_can_go_on` says what may change.

        Raises:
            RunFolderError: naming the keys or the packages that differ.
        """
        packages = packages_of(config.to_flat())
        try:
            check_can_go_on(
                self.config(),
                config,
                self.length_key(),
                self.checkpoint.progress(),
                completed=self.is_completed(),
            )
            check_packages(self.manifest().get("plugins", packages), packages)
        except ConfigError as error:
            raise RunFolderError(f"{self.path}: {error}") from None

    def _is_reopening(self) -> bool:
        """Return whether a process has begun to reopen it, and nothing has run since."""
        return self.manifest().get("phase") == _REOPENING

    def _reopen(self) -> None:
        """Remove the results of a completed run that will be continued.

        The phase comes first, so that what a kill interrupts here is done by the next start.
        """
        self.update_manifest(
            status=RunState.RUNNING, phase=_REOPENING, cause=None, finished=None, ended_early=None
        )
        self.checkpoint.save(self.checkpoint.progress().reopened())
        for pattern in RESULTS:
            for path in self.path.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def check_same_images(self, key: str, fingerprint: str) -> None:
        """Refuse to continue a run on other images than those it started with.

        Args:
            key: of the config, ``data-dir`` or ``reference-dir``.

        Raises:
            RunFolderError: the images have another fingerprint than in the manifest.
        """
        data = self.manifest().get("data", {})
        known = data if key == "data-dir" else data.get("reference", {})
        if known.get("fingerprint") not in (None, fingerprint):
            raise RunFolderError(
                f"{self.path}: {key} holds other images than when this run began; restore those, "
                "or choose another run folder"
            )

    def keep_base(self, sha256: str) -> None:
        """Record the base of the run's network in the manifest; refuse a different one.

        Raises:
            RunFolderError: the run started with another base.
        """
        if self.manifest().get("base_sha256", sha256) != sha256:
            raise RunFolderError(
                f"{self.path}: the base of its network is not the one that this run began with; "
                "restore the same pretrained weights and versions of torch and torchvision, or "
                "choose another run folder"
            )
        self.update_manifest(base_sha256=sha256)

    def keep_start(self, start: Mapping[str, Any]) -> None:
        """Record which weights of another run this one begins with; refuse others than before.

        Args:
            start: as in the manifest's ``init_from``.

        Raises:
            RunFolderError: the run, which has no finished round yet, began with others.
        """
        began = self.manifest().get("init_from", start)
        if began["weights_sha256"] != start["weights_sha256"]:
            raise RunFolderError(
                f"{start['run']}: its weights are not those that {self.path} began with; "
                "restore those, or choose another run folder"
            )
        self.update_manifest(init_from=start)

    def moving_average(self) -> MovingAverage | None:
        """Return the average of the models so far, to go on with; None without ``ema-decay``.

        Raises:
            RunFolderError: its file is missing or damaged.
        """
        decay, done = self.config().ema_decay, self.checkpoint.progress().round
        if not decay:
            return None
        return MovingAverage(decay, done, self.checkpoint.average(done) if done else None)

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        """Lock the folder for this process, until the end of the block or of the process.

        Raises:
            RunFolderError: another process holds it for longer than ``timeout`` seconds.
        """
        try:
            held = FileLock(self.path / ".lock", timeout=timeout).acquire()
        except Timeout:
            raise RunFolderError(f"{self.path}: another process is running this run") from None
        with held:
            yield

    def is_held(self) -> bool:
        """Return whether a process holds the folder's lock; that of another user counts as held."""
        try:
            with self.lock():
                return False
        except (RunFolderError, PermissionError):
            return True

    def manifest(self) -> dict[str, Any]:
        """Read the manifest; empty if there is none yet.

        Raises:
            RunFolderError: it is not JSON.
        """
        path = self.path / "manifest.json"
        if not path.is_file():
            return {}
        return read_object(path)

    def data(self) -> dict[str, Any]:
        """Return the manifest's entry about the images of a completed run.

        Raises:
            RunFolderError: it lacks what every such run's has.
        """
        data, path = self.manifest().get("data"), self.path / "manifest.json"
        if not isinstance(data, dict) or not data.keys() >= {"classes", "synthetic"}:
            raise RunFolderError(f"{path}: says nothing of the images in entry data; {COPY}")
        return data

    def stamps(self) -> list[tuple[int, ...]]:
        """Return what changes with each file that tells the progress."""
        named = ("manifest.json", "rounds.jsonl", "checkpoint/state.json")
        there = (path.stat() for name in named if (path := self.path / name).is_file())
        return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in there]

    def update_manifest(self, **changes: Any) -> None:
        """Change some entries of the manifest."""
        write_json(self.path / "manifest.json", {**self.manifest(), **changes})

    def fail(self, cause: str) -> None:
        """Write into the manifest that the run ended without a result, with the cause in a line."""
        self.update_manifest(status=RunState.FAILED, cause=cause, finished=now())

    def save_progress(
        self,
        progress: Progress,
        weights: Weights | None = None,
        server_state: Weights | None = None,
        average: Weights | None = None,
    ) -> None:
        """Add to ``rounds.jsonl`` what is new, and then write the checkpoint.

        For the arguments see `Checkpoint.save`. A run that goes on does this first: a kill between
        the two leaves a line too many, and after the last round nothing else would mend it.

        Raises:
            RunFolderError: ``rounds.jsonl`` lacks earlier rounds.
        """
        self.rounds_file.add(progress.records)
        self.checkpoint.save(progress, weights, server_state, average)

    def each_round(self) -> Iterator[dict[str, Any]]:
        """Read ``rounds.jsonl``, one line after the other; see `RoundsFile.read`."""
        return self.rounds_file.read(growing=not self.is_completed())

    def rounds(self) -> list[dict[str, Any]]:
        """Return the records of `each_round`; with a thousand clients one needs some megabytes."""
        return list(self.each_round())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the final figures."""
        write_json(self.path / "metrics.json", metrics)

    def metrics(self) -> dict[str, Any]:
        """Read the final figures of a completed run.

        Raises:
            RunFolderError: there are none, or they are not JSON.
        """
        path = self.path / "metrics.json"
        if not path.is_file():
            self.check_completed()
            raise RunFolderError(f"{self.path}: is incomplete: metrics.json is missing; {COPY}")
        return read_object(path)

    def write_histograms(self, histograms: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the histograms that clients sent, by test set and client."""
        write_text(self.path / "histograms.json", json.dumps(histograms, allow_nan=False) + "\n")

    def predictions_path(self, test_set: str) -> Path:
        """Return the path of the predictions for a test set, for example ``global_test``."""
        return self.path / f"predictions-{test_set}.csv"

    def predictions(self, test_set: str) -> pd.DataFrame:
        """Read the predictions for a test set; for errors see `read_predictions`."""
        return read_predictions(self.predictions_path(test_set))


def now() -> str:
    """Return the current time, UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
