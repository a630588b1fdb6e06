"""Reads and checks the run folder of a finished trial; damaged and foreign folders are refused."""

import re
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import from_json

from models.registry import file_name
from operation.files import parse_toml
from training.config import ExperimentConfig, defaults, parse
from training.errors import ConfigError, RunFolderError
from training.participation import absences
from training.run_state import RunState
from training.scores import FURTHER, SCORES

Percent = Annotated[float, Field(ge=0, le=100)]

# <command>-<backbone>-<12 hex digits>, as trial.py makes it.
_NAME = re.compile(r"(simulate|clip|heads)-(.+)-[0-9a-f]{12}")


class Part(BaseModel):
    """A part of a file in the run folder; further entries of the file are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


def _figure(name: str) -> Any:
    low, high = SCORES[name].range
    return Annotated[float, Field(ge=low, le=high)] | None


if TYPE_CHECKING:
    Scores = Part
else:
    # A score that is not defined, or not known, is None; the first six must be there.
    Scores = create_model(
        "Scores",
        __base__=Part,
        **{name: (_figure(name), None if name in FURTHER else ...) for name in SCORES},
    )


class Figures(Scores):
    """Every score, all None without images, and the number of images.

    ``confusion`` holds counts from which they are computed, true classes in rows; ``by_class`` the
    figures of some scores for each class.
    """

    n: int
    confusion: list[list[NonNegativeInt]]
    by_class: dict[str, list[float | None]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        size = len(self.confusion)
        if any(len(row) != size for row in self.confusion):
            raise ValueError("confusion is not square")
        if sum(map(sum, self.confusion)) != self.n:
            raise ValueError(f"confusion does not count n = {self.n}")
        for name, figures in self.by_class.items():
            low, high = SCORES[name].range if name in SCORES else (-inf, inf)
            outside = [f for f in figures if f is not None and not low <= f <= high]
            if len(figures) != size or outside:
                raise ValueError(f"by_class does not hold {size} figures of {name} in its range")
        return self


class Block(Figures):
    """Figures by image; 95 % intervals and figures by patient if the run has them."""

    intervals: dict[str, tuple[Percent, Percent] | None] = Field(default_factory=dict)
    patients: Figures | None = None


class Pooled(Part):
    """Figures over all clients that answered; ``missing`` has the reasons of the others.

    ``no_histograms`` has the clients that are not in the scores that need histograms.
    """

    missing: dict[str, str] = Field(default_factory=dict)
    no_histograms: dict[str, str] = Field(default_factory=dict)


class PooledFigures(Figures, Pooled):
    """Pooled figures by patient; a client may know its images only."""


class PooledBlock(Block, Pooled):
    """Pooled figures with all metrics."""

    patients: PooledFigures | None = None


class Metrics(Part):
    """``metrics.json``.

    If federated, ``participation`` has each client's number of rounds, and ``sampled`` the number
    of those that asked it, if not all did.
    """

    global_test: Block | None = None
    client_test: PooledBlock | None = None
    clients: dict[str, Block] = Field(default_factory=dict)
    validation: Pooled
    participation: dict[str, NonNegativeInt] = Field(default_factory=dict)
    sampled: dict[str, NonNegativeInt] | None = None
    heads: dict[Literal["network", "knn", "svm", "rf"], Block] | None = None
    best_round: int
    rounds: int
    weights_sha256: str

    def blocks(self) -> list[Figures]:
        """Return every block of figures, by image and by patient."""
        heads = (self.heads or {}).values()
        found = [self.global_test, self.client_test, *self.clients.values(), *heads]
        whole = [block for block in found if block is not None]
        return [*whole, *(block.patients for block in whole if block.patients is not None)]


class RoundFigures(Figures):
    """Figures of a round's model, with the mean loss."""

    loss: float | None = None


class Validation(Part):
    """The figures of a round's model on all validation images."""

    pooled: RoundFigures


class Seconds(Part):
    """Wall seconds of a round; if data were sent, also of transport and of waiting for a turn."""

    round: float
    transport: float | None = None
    waiting: float | None = None


class Round(Part):
    """A line of ``rounds.jsonl``; a centralized run sends no bytes."""

    round: int
    train_loss: float
    seconds: Seconds
    bytes_sent: int | None = None
    bytes_received: int | None = None
    validation: Validation


class Machine(Part):
    """Where the trial ran."""

    host: str


class OverlapEntry(Part):
    """Test images that are also in training."""

    in_training: int = Field(ge=0)


class Data(Part):
    """The manifest's entry about the images."""

    synthetic: bool
    classes: list[str]
    fingerprint: str
    test_fingerprint: str | None
    overlap: OverlapEntry | None


class TextWeights(Part):
    """The weights of the text tower."""

    weights: str


class Measured(Part):
    """The campaign's entry in the manifest."""

    peak_memory: int | None = None


class Manifest(Part):
    """``manifest.json`` of a completed run."""

    command: str
    versions: dict[str, str]
    machine: Machine
    data: Data
    text: TextWeights | None = None
    started: AwareDatetime
    finished: AwareDatetime
    trial: Measured = Field(default_factory=Measured)


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial.

    Attributes:
        id: the name of its run folder.
        config: resolved.
        rounds: one for each round or epoch, in order.
    """

    id: str
    config: ExperimentConfig
    manifest: Manifest
    metrics: Metrics
    rounds: tuple[Round, ...]

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
    manifest = _read(Manifest, path / "manifest.json")
    config = _read_config(path / "config.toml")
    if (manifest.command, file_name(config.backbone)) != name.groups():
        raise RunFolderError(
            f"holds a run of {manifest.command} with {config.backbone}, not what its name says"
        )
    metrics = _read(Metrics, path / "metrics.json")
    if manifest.command == "heads" and metrics.heads is None:
        return None
    if manifest.command == "simulate" and len(metrics.participation) != config.clients:
        raise RunFolderError(f"metrics.json: participation: not of {config.clients} clients")
    if (metrics.sampled is not None) != (manifest.command == "simulate" and config.samples_clients):
        raise RunFolderError("metrics.json: sampled: not as clients-per-round says")
    if metrics.sampled is not None and metrics.sampled.keys() != metrics.participation.keys():
        raise RunFolderError("metrics.json: sampled: not of the clients of participation")
    num_classes = len(manifest.data.classes)
    if any(len(block.confusion) != num_classes for block in metrics.blocks()):
        raise RunFolderError(f"metrics.json: confusion is not of {num_classes} classes")
    rounds = _read_rounds(path / "rounds.jsonl")
    if [r.round for r in rounds] != list(range(1, metrics.rounds + 1)):
        raise RunFolderError(f"rounds.jsonl: does not hold rounds 1 to {metrics.rounds}")
    return FinishedTrial(path.name, config, manifest, metrics, rounds)


def _is_completed(path: Path) -> bool:
    try:
        manifest = from_json(_bytes(path))
    except ValueError as error:
        raise RunFolderError(f"{path.name}: is not JSON: {error}") from None
    return isinstance(manifest, dict) and manifest.get("status") == RunState.COMPLETED


def _read_config(path: Path) -> ExperimentConfig:
    try:
        values = parse_toml(_bytes(path).decode())
    except ValueError as error:
        raise RunFolderError(f"{path.name}: is not TOML: {error}") from None
    try:
        if strange := sorted(values.keys() ^ defaults(str(values.get("strategy"))).keys()):
            what = "unknown" if strange[0] in values else "missing"
            raise RunFolderError(f"{path.name}: of another version, key {strange[0]} is {what}")
        config = parse(values)
    except ConfigError as error:
        raise RunFolderError(f"{path.name}: {str(error).splitlines()[0]}") from None
    numbers = (config.learning_rate, config.weight_decay, config.beta1, config.beta2)
    if "auto" in (config.dataset, config.optimizer, config.loss, *numbers):
        raise RunFolderError(f"{path.name}: is not resolved, so no run's")
    return config


def _read_rounds(path: Path) -> tuple[Round, ...]:
    lines = _bytes(path).splitlines()
    return tuple(_check(Round, line, f"{path.name}, line {i}") for i, line in enumerate(lines, 1))


P = TypeVar("P", bound=Part)


def _read(part: type[P], path: Path) -> P:
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
