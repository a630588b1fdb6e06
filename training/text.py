"""The text side of objective ``clip``: made once, kept in the run folder, told in the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_partition.class_names import full_names
from models.text_features import TextFeatures, open_text_features, prompts
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.experiment_data import cache_dir
from training.run_folder import RunFolder


@dataclass(frozen=True)
class Text:
    """What objective ``clip`` compares images with.

    Attributes:
        features: (K, D) float32, a row of unit length for each class.
        logit_scale: 1/τ.
    """

    features: NDArray[np.float32]
    logit_scale: float


def prepare_text(config: ExperimentConfig, classes: Sequence[str]) -> TextFeatures | None:
    """Return the text features of a config's classes, from the cache or computed; None without.

    Raises:
        DataError: a class has no full name.
        WeightsError: the text tower's weights are missing, or what the cache holds is unusable.
    """
    if config.objective != "clip":
        return None
    return open_text_features(
        config.text_encoder,
        prompts(full_names(classes)),
        pretrained=config.pretrained,
        weights_dir=Path(config.weights_dir) if config.weights_dir else None,
        seed=config.seed,
        cache_dir=cache_dir(config),
    )


def text_of_run(
    config: ExperimentConfig, folder: RunFolder, classes: Sequence[str]
) -> TextFeatures | None:
    """Return the text features of a run: those that it began with, or new ones, which it keeps.

    Raises:
        RunFolderError: those in the folder are of other classes.
        DataError, WeightsError: as `prepare_text`.
    """
    if config.objective != "clip":
        return None
    path = folder.text_path
    if not path.is_file():
        found = prepare_text(config, classes)
        assert found is not None
        found.save(path)
    kept = TextFeatures.load(path)
    if kept.prompts != prompts(full_names(classes)):
        raise RunFolderError(f"{path}: the text features of other classes; choose another folder")
    return kept


def as_text(features: TextFeatures | None) -> Text | None:
    """Return what a network needs of text features."""
    return None if features is None else Text(features.features, features.logit_scale)


def describe_text(features: TextFeatures | None) -> dict[str, Any] | None:
    """Return what the manifest says of them, so that a random tower is never taken for CLIP's."""
    if features is None:
        return None
    return {
        "encoder": features.encoder,
        "weights": features.weights,
        "prompts": list(features.prompts),
        "logit_scale": features.logit_scale,
    }
