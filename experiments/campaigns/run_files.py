"""The form of the files of a finished run: metrics, rounds, manifest."""

from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    create_model,
    model_validator,
)

from training.metrics import METRIC_NAMES
from training.scores import SCORES

Percent = Annotated[float, Field(ge=0, le=100)]


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
        **{name: (_figure(name), ... if name in METRIC_NAMES else None) for name in SCORES},
    )


class Figures(Scores):
    """Every score, all None without images, and the number of images.

    ``confusion`` holds counts from which they are computed, true classes in rows; ``by_class`` the
    figures of some scores for each class. A package's score is an entry of its own.
    """

    model_config = ConfigDict(extra="allow")

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


class Averaged(Part):
    """The figures of the moving average of a run's models."""

    global_test: Block | None = None
    left_out: Block | None = None
    client_test: PooledBlock | None = None


class Metrics(Part):
    """``metrics.json``.

    If federated, ``participation`` has each client's number of rounds, and ``sampled`` the number
    of those that asked it, if not all did. ``local_arrays`` says how many arrays of the network
    stay at the clients, and ``best_rounds`` has the best round of each client that trains alone.
    """

    global_test: Block | None = None
    left_out: Block | None = None
    client_test: PooledBlock | None = None
    ema: Averaged = Field(default_factory=Averaged)
    clients: dict[str, Block] = Field(default_factory=dict)
    validation: Pooled
    participation: dict[str, NonNegativeInt] = Field(default_factory=dict)
    sampled: dict[str, NonNegativeInt] | None = None
    heads: dict[Literal["network", "knn", "svm", "rf"], Block] | None = None
    best_round: int
    best_rounds: dict[str, int] = Field(default_factory=dict)
    rounds: int
    weights_sha256: str
    local_arrays: int = 0

    def blocks(self) -> list[Figures]:
        """Return every block of figures, by image and by patient."""
        heads = (self.heads or {}).values()
        tests = [self.global_test, self.left_out, self.client_test]
        tests += [self.ema.global_test, self.ema.left_out, self.ema.client_test]
        found = [*tests, *self.clients.values(), *heads]
        whole = [block for block in found if block is not None]
        return [*whole, *(block.patients for block in whole if block.patients is not None)]


class RoundFigures(Figures):
    """Figures of a round's model, with the mean loss."""

    loss: float | None = None


class Validation(Part):
    """The figures of a round's model on all validation images and, if federated, by client."""

    pooled: RoundFigures
    clients: dict[str, RoundFigures] = Field(default_factory=dict)


class ClientRound(Part):
    """What a client did in a round."""

    train_loss: float


class Seconds(Part):
    """Wall seconds of a round; if data were sent, also of transport and of waiting for a turn."""

    round: float
    transport: float | None = None
    waiting: float | None = None


class Round(Part):
    """A line of ``rounds.jsonl``; a centralized run has no clients and sends no bytes."""

    round: int
    train_loss: float
    seconds: Seconds
    bytes_sent: int | None = None
    bytes_received: int | None = None
    clients: dict[str, ClientRound] = Field(default_factory=dict)
    validation: Validation


class MachineEntry(Part):
    """Where the trial ran."""

    host: str


class OverlapEntry(Part):
    """Test images that are also in training."""

    in_training: int = Field(ge=0)


class CopiesEntry(Part):
    """Images with identical pixels."""

    straddling: int = Field(ge=0)


class Data(Part):
    """The manifest's entry about the images."""

    synthetic: bool
    classes: list[str]
    fingerprint: str
    test_fingerprint: str | None
    overlap: OverlapEntry | None
    notices: list[str] = Field(default_factory=list)
    copies: CopiesEntry | None = None


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
    machine: MachineEntry
    data: Data
    text: TextWeights | None = None
    started: AwareDatetime
    finished: AwareDatetime
    trial: Measured = Field(default_factory=Measured)
