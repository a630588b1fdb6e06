"""The rules by which the ISIC 2018 challenge's Task 3 counts answers.

They are not those of the study (docs/study.md).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.metrics import Confusion, confusion_matrix

LEFT_OUT = "ISIC_0035068"
"""The test image that has weight zero in the official scorer."""


def official_confusion(
    image_ids: Sequence[str], labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> Confusion:
    """Count predictions as the package isic-challenge-scoring does.

    If several classes share an image's highest probability, the prediction is "undecided", which
    is always wrong. ``LEFT_OUT`` is not counted.

    Args:
        image_ids: n ids.
        labels: (n,) true classes, each in [0, K).
        probabilities: (n, K) in [0, 1].

    Returns:
        (K + 1, K + 1) counts, true classes in rows. Column K counts the ties; row K is empty, so
        that ``training.metrics`` can use it like any confusion matrix.
    """
    num_classes = probabilities.shape[1]
    highest = probabilities.max(axis=1, keepdims=True)
    tied = (probabilities == highest).sum(axis=1) > 1
    answers = np.where(tied, num_classes, probabilities.argmax(axis=1))
    counted = np.array([image_id != LEFT_OUT for image_id in image_ids], dtype=bool)
    return confusion_matrix(labels[counted], answers[counted], num_classes + 1)
