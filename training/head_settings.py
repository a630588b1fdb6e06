"""The classical heads' settings, from a config."""

from models.heads import HeadSettings
from training.config import ExperimentConfig


def head_settings(config: ExperimentConfig) -> HeadSettings:
    """Return what a config says of the heads."""
    return HeadSettings(
        neighbors=config.knn_neighbors,
        c=config.svm_c,
        gamma=config.svm_gamma,
        trees=config.forest_trees,
        tune=config.tune_heads,
        seed=config.seed,
    )
