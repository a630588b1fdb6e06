"""The text features of objective ``clip``, stored in the run folder and named in the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.text_features import TextFeatures, open_text_features, prompts
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.release import cache_dir, dataset_of
from training.run_folder import RunFolder


@dataclass(frozen=True)
class ClipText:
    """The text features that objective ``clip`` compares images with."""

    features: NDArray[np.float32]  # (K, D) float32, a row of unit length for each class
    logit_scale: float  # 1/τ


def prepare_text(config: ExperimentConfig, classes: Sequence[str]) -> TextFeatures | None:
    """Return the text features of a config's classes, cached or computed; None without ``clip``.

    Raises:
        WeightsError: the text tower's weights are missing, or the cached file is unusable.
    """
    if config.objective != "clip":
        return None
    return open_text_features(
        config.text_encoder,
        prompts_of(config, classes),
        pretrained=config.pretrained,
        weights_dir=Path(config.weights_dir) if config.weights_dir else None,
        seed=config.seed,
        cache_dir=cache_dir(config),
    )


def text_of_run(
    config: ExperimentConfig, folder: RunFolder, classes: Sequence[str]
) -> TextFeatures | None:
    """Return the text features of a run: the stored ones, or new ones, which are then stored.

    Raises:
        RunFolderError: those in the folder are of other classes.
        WeightsError: as `prepare_text`.
    """
    if config.objective != "clip":
        return None
    path = folder.text_path
    if not path.is_file():
        found = prepare_text(config, classes)
        assert found is not None
        found.save(path)
    kept = TextFeatures.load(path)
    if kept.prompts != prompts_of(config, classes):
        raise RunFolderError(
            f"{path}: holds the text features of other classes; choose another folder"
        )
    return kept


def prompts_of(config: ExperimentConfig, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the texts that images of each class are compared with."""
    return prompts(dataset_of(config).names_in_words(classes))


def as_text(features: TextFeatures | None) -> ClipText | None:
    """Return the part of text features that a network needs."""
    return None if features is None else ClipText(features.features, features.logit_scale)


def describe_text(features: TextFeatures | None) -> dict[str, Any] | None:
    """Return the manifest's entry, which shows whether the tower is CLIP's or random."""
    if features is None:
        return None
    return {
        "encoder": features.encoder,
        "weights": features.weights,
        "prompts": list(features.prompts),
        "logit_scale": features.logit_scale,
    }
