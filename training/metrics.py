"""The metrics of the study (docs/study.md), all computed from a confusion matrix."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

METRIC_NAMES = ("acc", "bacc", "pre", "rec", "f1", "avg")

Confusion = NDArray[np.int64]


def confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int
) -> Confusion:
    """Count images by true class (rows) and predicted class (columns).

    Args:
        labels: (N,) true classes, each in [0, num_classes).
        predicted: (N,) predicted classes, in the same range.

    Returns:
        (K, K) counts that sum to N.
    """
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def by_patient(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], patients: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean probabilities of each patient's images, and the patient's true class.

    Args:
        probabilities: (n, K), by image.
        labels: (n,) true classes, the same for all images of a patient.
        patients: (n,) the number of each image's patient.

    Returns:
        (P, K) and (P,) for P patients, by their numbers.
    """
    _, first_images, patient_of_image, num_images = np.unique(
        patients, return_index=True, return_inverse=True, return_counts=True
    )
    num_classes = probabilities.shape[1]
    totals = np.zeros((len(first_images), num_classes))
    np.add.at(totals, patient_of_image, probabilities.astype(np.float64))
    return totals / num_images[:, None], labels[first_images]


def pool(matrices: Iterable[Confusion], num_classes: int) -> Confusion:
    """Sum confusion matrices; figures of the sum are exact, while a mean of figures is not."""
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    for matrix in matrices:
        total += matrix
    return total


def metrics(confusion: Confusion) -> dict[str, float | None]:
    """Return ACC, BACC, weighted PRE, REC and F1, and AVG, their unweighted mean, in percent.

    As in scikit-learn, balanced accuracy is the mean recall over the classes that occur, a class
    that is never predicted has precision 0, and the weights are the numbers of images of each true
    class.

    Args:
        confusion: (K, K) counts, true classes in rows.

    Returns:
        The six figures by the names of ``METRIC_NAMES``, each in [0, 100]; all None if the matrix
        is empty.
    """
    if not confusion.any():
        return dict.fromkeys(METRIC_NAMES)
    return dict(zip(METRIC_NAMES, figures(confusion).tolist(), strict=True))


def recall_by_class(confusion: Confusion) -> list[tuple[int, int]]:
    """Return for each class the number of images found (classified correctly) and the total.

    BACC is the mean share of found images, over the classes that have images.
    """
    found = np.diagonal(confusion)
    return list(zip(found.tolist(), confusion.sum(axis=1).tolist(), strict=True))


def figures(confusions: Confusion) -> NDArray[np.float64]:
    """Compute the figures of `metrics` for many confusion matrices at once.

    Args:
        confusions: (…, K, K) counts, true classes in rows; no matrix may be empty.

    Returns:
        (…, 6) in the order of ``METRIC_NAMES``, each in [0, 100].
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
    support = confusions.sum(axis=-1).astype(np.float64)
    predicted = confusions.sum(axis=-2).astype(np.float64)
    recall = _share(hits, support)
    total = support.sum(axis=-1)
    five = [
        hits.sum(axis=-1) / total,
        recall.sum(axis=-1) / (support > 0).sum(axis=-1),
        (support * _share(hits, predicted)).sum(axis=-1) / total,
        (support * recall).sum(axis=-1) / total,
        (support * _share(2 * hits, support + predicted)).sum(axis=-1) / total,
    ]
    return 100 * np.stack([*five, np.mean(five, axis=0)], axis=-1)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; the result is 0 where the divisor is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def metric_block(confusion: Confusion) -> dict[str, object]:
    """Return a block of ``metrics.json``: the figures, the confusion matrix and ``n``."""
    return {**metrics(confusion), "confusion": confusion.tolist(), "n": int(confusion.sum())}
