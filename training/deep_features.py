"""Deep features: the output of a run's best network before its head, computed once and cached.

A store is one file in the run folder, ``features/<set>.safetensors`` (`training.array_store`):
features, labels and image ids, with the identity of what they were computed from.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.array_store import kept
from training.config import ExperimentConfig
from training.split import Split

if TYPE_CHECKING:
    from models.backbones import Backbone


@dataclass(frozen=True)
class Features:
    """The features of some images.

    Attributes:
        values: (n, width) float32.
        labels: (n,) int64.
        image_ids: n ids.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    image_ids: tuple[str, ...]


def open_features(
    path: Path,
    config: ExperimentConfig,
    network: "Callable[[], Backbone]",
    split: Split,
    image_ids: Sequence[str],
    *,
    identity: str,
) -> Features:
    """Return the features of a split's images, from the file or computed and written to it.

    Whole images are used, as for testing (no crop, no flip).

    Args:
        network: makes the network, on its device; called only if features are missing, and
            only then torch is imported.
        identity: of the weights and the data set; features with another one are replaced.

    Raises:
        TrainingError: a feature is NaN or infinite.
    """
    labels = split.labels[split.indices]

    def compute() -> dict[str, NDArray]:
        from training.network import features_of

        return {"features": features_of(network(), split, config), "labels": labels}

    key = _key(config, identity, image_ids)
    arrays = kept(path, key, compute, image_ids=json.dumps(list(image_ids)))
    return Features(np.array(arrays["features"]), labels, tuple(image_ids))


def _key(config: ExperimentConfig, identity: str, image_ids: Sequence[str]) -> str:
    made_of = [
        *(identity, config.backbone, config.image_size, config.input, config.precision),
        list(image_ids),
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
