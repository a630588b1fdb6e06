"""The scores: a table by name. A score is a function of counts that add up over clients.

docs/scores.md describes each. A figure that is not defined, such as 0/0, is None. Nothing heavy is
imported, so that a config can be checked without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from operation.extension_point import ExtensionPoint
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.score_counts import ScoreCounts


@dataclass(frozen=True)
class Score:
    """A row of the table."""

    # Of the counts of one image or more. It returns a figure, or None; with ``by_class`` K of them,
    # and the score is the mean of those that are defined.
    function: Callable[[ScoreCounts], Any]
    # What it is computed from: the confusion matrix alone, or the histograms too.
    needs: Literal["confusion", "histograms"] = "confusion"
    higher_is_better: bool = True  # otherwise lower is better
    range: tuple[float, float] = (0.0, 100.0)  # the lowest and the highest figure
    by_class: bool = False  # whether there is a figure for each class

    @property
    def in_percent(self) -> bool:
        return self.range[1] == 100

    @property
    def digits(self) -> int:
        """How many decimals are shown."""
        return 2 if self.in_percent else 3


def as_text(name: str, figure: float | None) -> str:
    """Return a score, or the loss, as a table shows it."""
    if figure is None:
        return "–"
    return f"{figure:.{4 if name == 'loss' else ALL_SCORES[name].digits}f}"


def scores_with(*best_by: str) -> dict[str, Score]:
    """Return the project's scores, and then those of packages that a ``best-by`` names."""
    further = {name: ALL_SCORES[name] for name in best_by if name not in (*SCORES, "loss")}
    return {**SCORES, **further}


def further_scores(*best_by: str) -> dict[str, Score]:
    """Return the same without the study's six figures, which are the first."""
    return dict(list(scores_with(*best_by).items())[6:])


def score_block(counts: ScoreCounts, best_by: str = "loss") -> dict[str, Any]:
    """Return a block of ``metrics.json``: every score by name, the confusion matrix, and ``n``.

    ``by_class`` holds the K figures of each score that has them.

    Args:
        counts: of the images.
        best_by: the config's key; a package's score is in the block only if this names it.

    Raises:
        TrainingError: a package's score returns something else than it should.
    """
    block: dict[str, Any] = {}
    by_class: dict[str, list[float | None]] = {}
    for name, score in scores_with(best_by).items():
        of = counts.histograms if score.needs == "histograms" else counts
        found = score.function(counts) if of is not None and of.num_images else None
        if name not in SCORES:
            _check(name, score, found, len(counts.confusion))
        if score.by_class:
            by_class[name] = found or [None] * len(counts.confusion)
            defined = [figure for figure in by_class[name] if figure is not None]
            found = sum(defined) / len(defined) if defined else None
        block[name] = found
    confusion = counts.confusion.tolist()
    return {**block, "by_class": by_class, "confusion": confusion, "n": counts.num_images}


def _check(name: str, score: Score, found: object, num_classes: int) -> None:
    figures = found if score.by_class and isinstance(found, list) else [found]
    numbers = [figure for figure in figures if figure is not None]
    sound = all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
    if not sound or (score.by_class and found is not None and len(figures) != num_classes):
        raise TrainingError(f"best-by = {name!r}: returns {found!r:.100}, not what a score returns")


def _fault(_: str, found: object) -> str:
    if not isinstance(found, Score):
        return f"is of type {type(found).__name__}, not Score"
    if not callable(found.function) or found.needs not in ("confusion", "histograms"):
        return "has no function, or needs something else than confusion or histograms"
    return ""


def _auroc(counts: ScoreCounts) -> list[float | None]:
    """Area under the ROC curve of each class against the others.

    It is the share of pairs of an image of the class and one that is not, in which the first has
    the higher probability of the class; a pair in one bin counts half (Hanley and McNeil, The
    Meaning and Use of the Area under a ROC Curve, 1982). So with bins in place of probabilities it
    is wrong by half the share of the pairs within one bin, at most. Bins are no wider than 1/1024
    (`strategies.histograms`); it is exact where no bin holds images of both kinds.
    """
    assert counts.histograms is not None
    found: list[float | None] = []
    for negatives, positives in counts.histograms.of_class:
        below = negatives.cumsum() - negatives
        twice = int(positives @ (2 * below + negatives))  # the pairs, a half as 1
        found.append(_percent(twice, 2 * int(negatives.sum()) * int(positives.sum())))
    return found


def _sensitivity(counts: ScoreCounts) -> list[float | None]:
    """Share of the images of each class that are found: the class's recall."""
    confusion = counts.confusion
    return list(map(_percent, confusion.diagonal().tolist(), confusion.sum(axis=1).tolist()))


def _specificity(counts: ScoreCounts) -> list[float | None]:
    """Share of the images not of each class that are not taken for it."""
    confusion = counts.confusion
    negatives = counts.num_images - confusion.sum(axis=1)
    false = confusion.sum(axis=0) - confusion.diagonal()
    return list(map(_percent, (negatives - false).tolist(), negatives.tolist()))


def _ece(counts: ScoreCounts) -> float:
    """Expected calibration error: by how much confidence differs from accuracy, by bin.

    Confidence is the predicted class's probability. The sum over 15 equal bins of (images in the
    bin / n) · abs(accuracy − mean confidence), equation 3 of Guo et al., On Calibration of Modern
    Neural Networks, 2017.
    """
    histograms = counts.histograms
    assert histograms is not None
    difference = abs(histograms.confidence[:, 1] - histograms.confidence_sums).sum()
    return 100 * float(difference) / histograms.num_images


def _brier(counts: ScoreCounts) -> float:
    """Mean over images of the sum over classes of the squared error of the probability (Brier,
    Verification of Forecasts Expressed in Terms of Probability, 1950): 0 to 2.
    """
    assert counts.histograms is not None
    return counts.histograms.squared_error / counts.histograms.num_images


def _kappa(counts: ScoreCounts) -> float | None:
    """Agreement of predicted and true class beyond chance: (p_o − p_e) / (1 − p_e).

    p_o is the accuracy, p_e what it would be if both were drawn independently by their frequencies
    (Cohen, A Coefficient of Agreement for Nominal Scales, 1960).
    """
    images, hits, chance, _, _ = _moments(counts)
    apart = images**2 - chance
    return (images * hits - chance) / apart if apart else None


def _mcc(counts: ScoreCounts) -> float | None:
    """Matthews correlation coefficient of predicted and true class.

    R_K of Gorodkin, Comparing Two K-Category Assignments by a K-Category Correlation Coefficient,
    2004. Undefined if all images are of one class, or taken for one; scikit-learn gives 0.
    """
    images, hits, chance, of_truth, of_answers = _moments(counts)
    spread = math.sqrt(images**2 - of_truth) * math.sqrt(images**2 - of_answers)
    # Not beyond 1, as rounding would have it for some matrices without an error.
    return max(-1.0, min(1.0, (images * hits - chance) / spread)) if spread else None


def _moments(counts: ScoreCounts) -> tuple[int, ...]:
    """Return n, the number of hits, and Σ t p, Σ t² and Σ p² over the classes.

    t and p are the numbers of images of the class, and taken for it. Python's integers: squares of
    n² would not fit 64 bits.
    """
    confusion = counts.confusion
    truth, answers = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    pairs = [(truth, answers), (truth, truth), (answers, answers)]
    sums = [sum(a * b for a, b in zip(*pair, strict=True)) for pair in pairs]
    return (counts.num_images, int(confusion.trace()), *sums)


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


SCORES: Mapping[str, Score] = {
    # The study's (docs/study.md).
    "acc": Score(lambda counts: counts.study["acc"]),
    "bacc": Score(lambda counts: counts.study["bacc"]),
    "pre": Score(lambda counts: counts.study["pre"]),
    "rec": Score(lambda counts: counts.study["rec"]),
    "f1": Score(lambda counts: counts.study["f1"]),
    "avg": Score(lambda counts: counts.study["avg"]),
    "auroc": Score(_auroc, needs="histograms", by_class=True),
    "sensitivity": Score(_sensitivity, by_class=True),
    "specificity": Score(_specificity, by_class=True),
    "ece": Score(_ece, needs="histograms", higher_is_better=False),
    "brier": Score(_brier, needs="histograms", higher_is_better=False, range=(0.0, 2.0)),
    "kappa": Score(_kappa, range=(-1.0, 1.0)),
    "mcc": Score(_mcc, range=(-1.0, 1.0)),
}
# A package's score counts if ``best-by`` names it.
ALL_SCORES: ExtensionPoint[Score] = ExtensionPoint("scores", SCORES, SCORES.__getitem__, _fault)
