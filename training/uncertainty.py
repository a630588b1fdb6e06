"""Uncertainty of test figures: bootstrap intervals, and a paired test of two models.

The bootstrap repeatedly draws n of n units with replacement and measures the spread of the
figures. A unit is a test image, or all images of a patient, because these are not independent.
Units with equal counts are drawn together, so the images are not read again. B. Efron,
R. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.metrics import METRIC_NAMES, figures

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)

# The figures in which two models are compared.
COMPARED = ("avg", "bacc")

# Limits the memory at a time, in counts of 8 bytes.
_BLOCK = 2**22

Groups = NDArray[np.int64] | Sequence[str]


def intervals(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    num_classes: int,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Groups | None = None,
) -> dict[str, list[float] | None]:
    """Return the 95 % interval of each figure: percentiles 2.5 and 97.5 of the bootstrap.

    Args:
        labels: (n,) true classes, each in [0, num_classes).
        predicted: (n,) predicted classes, in the same range.
        resamples: how often n units are drawn.
        groups: (n,) the images' patients, whose images are drawn together; None: images are drawn.

    Returns:
        [low, high] in percent by the names of ``METRIC_NAMES``; None without any image.
    """
    if not len(labels):
        return dict.fromkeys(METRIC_NAMES)
    cells = _cells(labels, predicted, num_classes)[:, None]
    drawn = [
        figures(counts.reshape(-1, num_classes, num_classes))
        for counts in _resampled(cells, num_classes**2, groups, seed, resamples)
    ]
    bounds = np.percentile(np.concatenate(drawn), PERCENTILES, axis=0)
    return {name: bounds[:, column].tolist() for column, name in enumerate(METRIC_NAMES)}


def paired_test(
    labels: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    num_classes: int,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Groups | None = None,
) -> dict[str, Any]:
    """Compare two models on the same test images.

    McNemar's exact test checks whether images that only one model classifies correctly belong to
    either model with probability 1/2. It assumes that images are independent, also with ``groups``.
    `training.score_differences` compares more than the classes that were predicted.

    Args:
        labels: (n,) true classes, each in [0, num_classes).
        first, second: (n,) the classes that the two models predicted, in the same range.
        num_classes, seed, resamples, groups: as for `intervals`; both models use the same draws.

    Returns:
        ``only_first`` and ``only_second``, the numbers of images that only this model classified
        correctly; ``p_value``, two-sided, 1 if there are none; and ``difference``, for each of
        ``COMPARED`` the second model's figure minus the first's in percentage points, with its 95 %
        interval: [difference, low, high]; None without any image.
    """
    only_first, only_second, p_value = mcnemar(labels, first, second)
    found: dict[str, Any] = {
        "only_first": only_first,
        "only_second": only_second,
        "p_value": p_value,
        "difference": dict.fromkeys(COMPARED),
    }
    if not len(labels):
        return found
    # Two confusion matrices side by side, so that one draw serves both.
    cells = np.stack(
        [_cells(labels, first, num_classes), _cells(labels, second, num_classes) + num_classes**2],
        axis=1,
    )

    def difference(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        both = figures(counts.reshape(-1, 2, num_classes, num_classes))
        return both[:, 1] - both[:, 0]

    size = 2 * num_classes**2
    point = difference(np.bincount(cells.ravel(), minlength=size))[0]
    drawn = [difference(counts) for counts in _resampled(cells, size, groups, seed, resamples)]
    bounds = np.percentile(np.concatenate(drawn), PERCENTILES, axis=0)
    for name in COMPARED:
        column = METRIC_NAMES.index(name)
        found["difference"][name] = [float(point[column]), *bounds[:, column].tolist()]
    return found


def mcnemar(
    labels: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[int, int, float]:
    """Return McNemar's exact test of two models on the same images.

    Q. McNemar: Note on the sampling error of the difference between correlated proportions or
    percentages, Psychometrika 12, 1947. It assumes that images are independent.

    Args:
        labels, first, second: as for `paired_test`.

    Returns:
        How many images only the first model classified correctly, how many only the second, and the
        two-sided p-value, 1 if there are none.
    """
    # Imported here: it takes half a second, which every message at a site would pay.
    from scipy.stats import binomtest

    only_first = int(((first == labels) & (second != labels)).sum())
    only_second = int(((second == labels) & (first != labels)).sum())
    apart = only_first + only_second
    p_value = float(binomtest(only_first, apart).pvalue) if apart else 1.0
    return only_first, only_second, p_value


def _cells(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Return each image's cell of the confusion matrix, in [0, K^2)."""
    if labels.shape != predicted.shape:
        raise ValueError(f"{predicted.shape} predictions for {labels.shape} labels")
    for classes in (labels, predicted):
        if classes.min() < 0 or classes.max() >= num_classes:
            raise ValueError(f"a class outside 0 to {num_classes - 1}")
    return labels * num_classes + predicted


def _resampled(
    cells: NDArray[np.int64], num_cells: int, groups: Groups | None, seed: int, resamples: int
) -> Iterator[NDArray[np.int64]]:
    """Draw units and sum the cells (n, m) of their images.

    Yields:
        (r, num_cells) counts, block by block, ``resamples`` rows in all.
    """
    units = np.arange(len(cells)) if groups is None else np.unique(groups, return_inverse=True)[1]
    num_units = int(units.max()) + 1
    counts = np.zeros((num_units, num_cells), dtype=np.int64)
    np.add.at(counts, (units[:, None], cells), 1)
    patterns, multiplicity = np.unique(counts, axis=0, return_counts=True)
    # As floats, which BLAS multiplies ten times as fast; exact, since the sums are small.
    summands = patterns.astype(np.float64)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(patterns))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.multinomial(num_units, multiplicity / num_units, size)
        yield (drawn.astype(np.float64) @ summands).astype(np.int64)
