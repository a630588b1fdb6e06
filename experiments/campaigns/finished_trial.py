"""Reads and checks the run folder of a finished trial; damaged and foreign folders are refused."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pandas as pd
from pydantic import ValidationError
from pydantic_core import from_json

from experiments.campaigns.run_files import Manifest, Metrics, Part, Round
from models.registry import file_name
from training.config import ExperimentConfig, Scalar
from training.config_file import parse_whole
from training.errors import ConfigError, RunFolderError
from training.participation import absences
from training.run_state import RunState
from training.study import RESOLVED_NUMBERS, chosen

# <command>-<backbone>-<12 hex digits>, as trial.py makes it.
_NAME = re.compile(r"(simulate|clip|heads)-(.+)-[0-9a-f]{12}")


@dataclass(frozen=True)
class TrialRecord:
    """The settings, the curve and the counts of one trial.

    Attributes:
        settings: the config as `training.study.chosen` returns it.
        curve: a row for each round (the index, from 1), with ``train_loss``, ``validation_loss``
            and ``validation_avg``, the pooled one in percent; NaN if nothing was validated.
        classes: names of the rows and columns of the confusion matrices.
        confusions: counts (K, K) on the global test set by model, true classes in rows.
        of_clients: the same by client, of the network on the client's test images.
        validated: BACC by client on its validation images in the best round, in percent; clients
            without such a figure are left out.
        local_arrays: how many arrays of the network stay at the clients.
        notices: what was noticed about the images, and how many copies are in several splits.
    """

    settings: dict[str, Scalar]
    curve: pd.DataFrame
    classes: list[str]
    confusions: dict[str, list[list[int]]]
    of_clients: dict[str, list[list[int]]] = field(default_factory=dict)
    validated: dict[str, float] = field(default_factory=dict)
    local_arrays: int = 0
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial."""

    id: str  # the name of its run folder
    config: ExperimentConfig  # resolved
    manifest: Manifest
    metrics: Metrics
    rounds: tuple[Round, ...]  # one for each round or epoch, in order

    @property
    def absences(self) -> dict[str, str]:
        """What each client missed, for the clients that missed something."""
        pooled = self.metrics.client_test
        return absences(
            self.metrics.participation,
            self.metrics.rounds,
            sampled=self.metrics.sampled,
            not_validated=self.metrics.validation.missing,
            not_tested=pooled.missing if pooled else (),
            not_by_patient=pooled.patients.missing if pooled and pooled.patients else (),
        )

    @property
    def record(self) -> TrialRecord:
        """What a report shows of the trial in addition to its rows in the ledger."""
        rounds, metrics = self.rounds, self.metrics
        pooled = [each.validation.pooled for each in rounds]
        curve = pd.DataFrame(
            {
                "train_loss": [each.train_loss for each in rounds],
                "validation_loss": [figures.loss for figures in pooled],
                "validation_avg": [getattr(figures, "avg") for figures in pooled],  # noqa: B009
            },
            index=pd.Index([each.round for each in rounds], name="round"),
            dtype=float,
        )
        blocks = {"network": metrics.global_test, **(metrics.heads or {})}
        data = self.manifest.data
        notices = list(data.notices)
        if data.copies is not None and data.copies.straddling:
            notices.append(
                f"{data.copies.straddling} images with identical pixels are in several splits"
            )
        return TrialRecord(
            settings=chosen(self.config),
            curve=curve,
            classes=data.classes,
            confusions={
                name: block.confusion for name, block in blocks.items() if block is not None
            },
            of_clients={name: block.confusion for name, block in metrics.clients.items()},
            validated={
                name: bacc
                for each in rounds
                for name, figures in each.validation.clients.items()
                if each.round == metrics.best_rounds.get(name, metrics.best_round)
                and (bacc := getattr(figures, "bacc")) is not None  # noqa: B009
            },
            local_arrays=metrics.local_arrays,
            notices=notices,
        )


def read_finished(path: Path) -> FinishedTrial | None:
    """Read a trial's run folder; None if the trial is not finished.

    Raises:
        RunFolderError: one line with what is damaged, or why this is not a trial's folder.
    """
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise RunFolderError("its name is not that of a trial")
    if not (path / "manifest.json").is_file() or not (path / "config.toml").is_file():
        return None
    if not _is_completed(path / "manifest.json"):
        return None
    trial = read_completed(path)
    command, backbone = trial.manifest.command, file_name(trial.config.backbone)
    if (command, backbone) != name.groups():
        raise RunFolderError(
            f"holds a run of {command} with {trial.config.backbone}, not what its name says"
        )
    return None if command == "heads" and trial.metrics.heads is None else trial


def read_completed(path: Path) -> FinishedTrial:
    """Read the folder of a completed run of any command, in a campaign or not.

    Raises:
        RunFolderError: one line with what is damaged or missing.
    """
    manifest = read_form(Manifest, path / "manifest.json")
    config = _read_config(path / "config.toml")
    metrics = read_form(Metrics, path / "metrics.json")
    federated = manifest.command in ("simulate", "run")
    if federated and len(metrics.participation) != config.clients:
        raise RunFolderError(f"metrics.json: participation: not of {config.clients} clients")
    if (metrics.sampled is not None) != (federated and config.samples_clients):
        raise RunFolderError("metrics.json: sampled: not as clients-per-round says")
    if metrics.sampled is not None and metrics.sampled.keys() != metrics.participation.keys():
        raise RunFolderError("metrics.json: sampled: not of the clients of participation")
    num_classes = len(manifest.data.classes)
    if any(len(block.confusion) != num_classes for block in metrics.blocks()):
        raise RunFolderError(f"metrics.json: confusion is not of {num_classes} classes")
    best = [getattr(block, config.best_by, None) for block in metrics.blocks()]
    if any(not isinstance(figure, float | int | None) for figure in best):
        raise RunFolderError(f"metrics.json: {config.best_by}: is not a number")
    rounds = read_rounds(path)
    if [r.round for r in rounds] != list(range(1, metrics.rounds + 1)):
        raise RunFolderError(f"rounds.jsonl: does not hold rounds 1 to {metrics.rounds}")
    return FinishedTrial(path.name, config, manifest, metrics, rounds)


def read_rounds(path: Path) -> tuple[Round, ...]:
    """Read a run folder's ``rounds.jsonl``.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    lines = _bytes(path / "rounds.jsonl").splitlines()
    return tuple(read_round(line, f", line {i}") for i, line in enumerate(lines, 1))


def read_round(line: bytes, where: str = "") -> Round:
    """Read a line of a ``rounds.jsonl``.

    Args:
        where: what follows the file's name in an error.

    Raises:
        RunFolderError: it is damaged.
    """
    return _check(Round, line, f"rounds.jsonl{where}")


def _is_completed(path: Path) -> bool:
    try:
        manifest = from_json(_bytes(path))
    except ValueError as error:
        raise RunFolderError(f"{path.name}: is not JSON: {error}") from None
    return isinstance(manifest, dict) and manifest.get("status") == RunState.COMPLETED


def _read_config(path: Path) -> ExperimentConfig:
    try:
        config = parse_whole(_bytes(path))
    except ConfigError as error:
        raise RunFolderError(f"{path.name}: {error}") from None
    flat = config.to_flat()
    if "auto" in (flat[key] for key in ("dataset", "optimizer", "loss", *RESOLVED_NUMBERS)):
        raise RunFolderError(
            f"{path.name}: holds auto: a config as written, not a run's; make the run again"
        )
    return config


P = TypeVar("P", bound=Part)


def read_form(part: type[P], path: Path) -> P:
    """Read a JSON file of a given form.

    Raises:
        RunFolderError: it is missing, or has another form.
    """
    return _check(part, _bytes(path), path.name)


def _check(part: type[P], data: bytes, name: str) -> P:
    try:
        return part.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise RunFolderError(": ".join(filter(None, (name, where, fault["msg"])))) from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path.name}: cannot be read: {error.strerror}") from None
