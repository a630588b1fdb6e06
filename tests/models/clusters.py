"""Features in clusters, one for each class, and heads that are fitted to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.fitted_head import Head
from models.heads import HeadSettings, fit_head

NUM_CLASSES, WIDTH = 4, 12
SETTINGS = HeadSettings(trees=10)

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


def clusters(count: int, seed: int, spread: float = 1.5) -> tuple[Features, Labels]:
    """Features around a centre for each class, of very different scales."""
    centres = np.random.default_rng(99).standard_normal((NUM_CLASSES, WIDTH))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % NUM_CLASSES)
    features = centres[labels] + spread * rng.standard_normal((count, WIDTH))
    return (features * np.logspace(-2, 2, WIDTH)).astype(np.float32), labels


TRAIN, LABELS = clusters(120, seed=0)
TEST, TRUE = clusters(60, seed=1)


def fitted(name: str, **changes: Any) -> Head:
    given = {
        "features": TRAIN,
        "labels": LABELS,
        "settings": SETTINGS,
        "num_classes": NUM_CLASSES,
        "groups": None,
        **changes,
    }
    return fit_head(name, given.pop("features"), given.pop("labels"), **given)
