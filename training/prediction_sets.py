"""Split conformal prediction: sets of classes that hold the true one as often as asked for.

A class is in an image's set if its probability reaches a threshold: the score of an image is 1 − p
of its true class (Sadinle, Lei, Wasserman: Least Ambiguous Set-Valued Classifiers with Bounded
Error Levels, 2019). The threshold is that of n calibration images. The set of one more image then
holds its true class with at least the coverage as probability, if the n + 1 images are exchangeable
(Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005; Angelopoulos, Bates: A
Gentle Introduction to Conformal Prediction, 2021, section 1). With a threshold for each class, of
the calibration images of that class, this holds for each class by itself (Vovk: Conditional
Validity of Inductive Conformal Predictors, 2012).

All that is needed are counts of images by the probability of their true class, which add up over
clients: `strategies.histograms` has them. A threshold is the lower edge of its bin, so that binning
makes sets larger and never breaks the guarantee.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.histograms import EDGES
from training.score_counts import Answers, Histograms


def fewest_images(coverage: float) -> int:
    """Return the least number of calibration images that a threshold above 0 needs."""
    wanted = Fraction(str(coverage))
    return math.ceil(wanted / (1 - wanted))


def threshold_of(counts: NDArray[np.int64], coverage: float) -> float:
    """Return the least probability at which a class is in the set.

    It is the ⌈(n + 1) · coverage⌉-th largest of the probabilities that n calibration images have of
    their true classes, rounded down to the edge of its bin; 0 if n is less than that, so that every
    class is in the set.

    Args:
        counts: of the calibration images by that probability, in the bins between `EDGES`.
        coverage: in (0, 1).
    """
    images = int(counts.sum())
    rank = math.ceil((images + 1) * Fraction(str(coverage)))
    if rank > images:
        return 0.0
    cell = len(counts) - 1 - int(np.searchsorted(counts[::-1].cumsum(), rank))
    return float(EDGES[cell - 1]) if cell else 0.0


def in_sets(probabilities: NDArray[np.floating], thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Return which classes are in each image's set (n, K).

    Args:
        probabilities: (n, K), as the network gives them.
        thresholds: of each class.
    """
    # As predictions are stored.
    return probabilities.astype(np.float32).astype(np.float64) >= np.array(thresholds)


def figures_of_counts(histograms: Histograms, thresholds: Sequence[float]) -> dict[str, Any]:
    """Return the figures of the sets of some images.

    Args:
        histograms: of the images, in the bins between `EDGES`.
        thresholds: of each class, each an edge or 0.

    Returns:
        ``coverage``, the percentage of images whose set holds their class; ``size``, the mean
        number of classes in a set; ``coverage_by_class``. None where there is no image.
    """
    first = np.searchsorted(EDGES, thresholds, side="right")
    pairs = zip(histograms.of_class, first, strict=True)
    inside = np.array([counts[:, cell:].sum(axis=1) for counts, cell in pairs])
    of_class = [int(positives.sum()) for _, positives in histograms.of_class]
    return _figures(inside[:, 1].tolist(), of_class, int(inside.sum()))


def figures_of_answers(answers: Answers, thresholds: Sequence[float]) -> dict[str, Any]:
    """Return the same, and more, of images of which the probabilities are known.

    Returns:
        Also ``size_by_class``, the mean size of the sets of the images of each class, and
        ``empty``, the percentage of sets without any class.
    """
    inside, labels = in_sets(answers.probabilities, thresholds), answers.labels
    images, classes = inside.shape
    covered = np.bincount(labels, inside[np.arange(images), labels], classes).astype(np.int64)
    of_class = np.bincount(labels, minlength=classes).tolist()
    sizes = np.bincount(labels, inside.sum(axis=1), classes)
    return {
        **_figures(covered.tolist(), of_class, int(inside.sum())),
        "size_by_class": [_ratio(*pair) for pair in zip(sizes.tolist(), of_class, strict=True)],
        "empty": _ratio(100 * int((~inside.any(axis=1)).sum()), images),
    }


def _figures(covered: list[int], of_class: list[int], inside: int) -> dict[str, Any]:
    images = sum(of_class)
    return {
        "coverage": _ratio(100 * sum(covered), images),
        "size": _ratio(inside, images),
        "coverage_by_class": [
            _ratio(100 * found, of) for found, of in zip(covered, of_class, strict=True)
        ],
    }


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
