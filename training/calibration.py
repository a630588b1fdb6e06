"""What a model's answers on the pooled validation images say of how sure it may be.

A temperature, and thresholds for prediction sets: both are functions of counts that add up over
clients. They are fitted once, for the best model, and stored in ``metrics.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.temperature_losses import TEMPERATURES
from training.errors import RunFolderError
from training.prediction_sets import (
    fewest_images,
    figures_of_answers,
    figures_of_counts,
    threshold_of,
)
from training.score_counts import Answers, Histograms
from training.scores import score_block
from training.temperature import best_temperature, calibrated

_SHARED, _OWN = "the shared model", "the clients' own models"
# Scores of probabilities; what is most probable does not change.
_CALIBRATED = ("ece", "brier")


def too_few_images(coverage: float, images: Mapping[str, int]) -> str | None:
    """Return in one line for what there are too few validation images, None if for nothing.

    Args:
        images: number of each class.
    """
    needed, total = fewest_images(coverage), sum(images.values())
    if total < needed:
        return (
            f"coverage = {coverage} needs {needed} validation images, and there are {total}: "
            "every prediction set has all classes"
        )
    few = [f"{name} {number}" for name, number in images.items() if number < needed]
    if not few:
        return None
    return (
        f"coverage = {coverage} needs {needed} of each class, and there are of {', '.join(few)}: "
        "these classes are in every set by class"
    )


@dataclass(frozen=True)
class Calibration:
    """The calibration of one model, of K classes.

    Attributes:
        coverage: that was asked for, in (0, 1).
        images: how many validation images of each class it is from.
        temperature: above 0.
        threshold: the least probability at which a class is in an image's set.
        thresholds: the same, one for each class, for sets that cover every class by itself.
        losses: mean loss on those images without a temperature, and the lowest of `TEMPERATURES`.
        own: whether the images were judged by models of the clients' own.
        missing: clients whose images are not among these, each with the reason.
    """

    coverage: float
    images: tuple[int, ...]
    temperature: float
    threshold: float
    thresholds: tuple[float, ...]
    losses: tuple[float, float] = (0.0, 0.0)
    own: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, tuple[float, ...]]:
        """The thresholds of each class, by the kind of the sets."""
        return {
            "marginal": (self.threshold,) * len(self.thresholds),
            "by_class": self.thresholds,
        }

    def always_inside(self, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the classes that are in the set of every image, by the kind of the sets.

        No probability is below their threshold, 0: their validation images are too few, or have
        hardly any probability of their own class.
        """
        return {
            kind: tuple(name for name, t in zip(classes, thresholds, strict=True) if t == 0)
            for kind, thresholds in self.kinds.items()
        }

    def figures(self, histograms: Histograms) -> dict[str, Any]:
        """Return the figures of both kinds of sets, of images that are counted as clients do."""
        return {kind: figures_of_counts(histograms, ts) for kind, ts in self.kinds.items()}

    def blocks(self, answers: Answers) -> dict[str, Any]:
        """Return what a test set's block has of its predictions: ``sets``, and ``calibrated``, the
        scores of its probabilities at the temperature.
        """
        found = calibrated(answers.probabilities, self.temperature)
        scores = score_block(Answers(found, answers.labels, answers.predicted).counts())
        return {
            "sets": {kind: figures_of_answers(answers, ts) for kind, ts in self.kinds.items()},
            "calibrated": {name: scores[name] for name in _CALIBRATED},
        }

    def too_few(self, classes: Sequence[str]) -> str | None:
        """Return in one line for what there are too few validation images, None if for nothing."""
        return too_few_images(self.coverage, dict(zip(classes, self.images, strict=True)))

    def to_block(self) -> dict[str, Any]:
        """Return the entry ``calibration`` of ``metrics.json``."""
        before, after = self.losses
        return {
            "coverage": self.coverage,
            "n": sum(self.images),
            "images": list(self.images),
            "needed": fewest_images(self.coverage),
            "of": _OWN if self.own else _SHARED,
            "missing": dict(self.missing),
            "temperature": self.temperature,
            "loss": before,
            "calibrated_loss": after,
            "threshold": self.threshold,
            "thresholds": list(self.thresholds),
        }

    @classmethod
    def of_block(cls, block: Mapping[str, Any], num_classes: int) -> Calibration:
        """Read the entry of ``metrics.json``.

        Raises:
            RunFolderError: it is damaged.
        """
        try:
            found = cls(
                coverage=float(block["coverage"]),
                images=tuple(int(n) for n in block["images"]),
                temperature=float(block["temperature"]),
                threshold=float(block["threshold"]),
                thresholds=tuple(float(t) for t in block["thresholds"]),
                losses=(float(block["loss"]), float(block["calibrated_loss"])),
                own=block["of"] == _OWN,
                missing=dict(block["missing"]),
            )
        except (KeyError, TypeError, ValueError):
            raise RunFolderError("its calibration is damaged, or of another version") from None
        sound = (
            0 < found.coverage < 1
            and TEMPERATURES[0] <= found.temperature <= TEMPERATURES[-1]
            and all(0 <= t <= 1 for t in (found.threshold, *found.thresholds))
            and len(found.images) == len(found.thresholds) == num_classes
        )
        if not sound:
            raise RunFolderError("its calibration is damaged, or of another version")
        return found


def calibrate(
    histograms: Histograms | None,
    losses: NDArray[np.float64],
    *,
    num_classes: int,
    coverage: float,
    own: bool = False,
    missing: Mapping[str, str] | None = None,
) -> Calibration:
    """Return the calibration of a model from its counts on the pooled validation images.

    Args:
        histograms: in the clients' bins; None if there are no images.
        losses: their sums for each of `TEMPERATURES`; zeros if there are no images.
        own, missing: as in `Calibration`.
    """
    counts = np.zeros((num_classes, 1), dtype=np.int64)
    if histograms is not None:
        counts = np.stack([positives for _, positives in histograms.of_class])
    images = max(1, int(counts.sum()))
    at_one = losses[len(TEMPERATURES) // 2]
    return Calibration(
        coverage=coverage,
        images=tuple(counts.sum(axis=1).tolist()),
        temperature=best_temperature(losses),
        threshold=threshold_of(counts.sum(axis=0), coverage),
        thresholds=tuple(threshold_of(of_class, coverage) for of_class in counts),
        losses=(float(at_one) / images, float(losses.min()) / images),
        own=own,
        missing=missing or {},
    )
