"""What a config says of the classical heads.

scikit-learn, which takes a second, is loaded only where settings for it are made.
"""

from typing import TYPE_CHECKING

from models.head_names import HEADS
from training.config import ExperimentConfig, Scalar

if TYPE_CHECKING:
    from models.heads import HeadSettings

# The keys that say nothing about the network: heads that differ in them share one.
HEAD_KEYS = (
    *("heads", "scaler", "knn-neighbors", "svm-c", "svm-gamma", "forest-trees"),
    "tune-heads",
)

# The entry of metrics.json that says with which values of them its heads were fitted.
FITTED_WITH = "head_settings"


def heads_of(config: ExperimentConfig) -> tuple[str, ...]:
    """Return the heads to fit, in the order of `models.head_names.HEADS` however they are named."""
    named = config.heads.split(",")
    return tuple(head for head in HEADS if head in named)


def head_values(config: ExperimentConfig) -> dict[str, Scalar]:
    """Return ``HEAD_KEYS`` with their values; equal ones are the same heads of a run's network."""
    flat = config.to_flat()
    return {key: flat[key] for key in HEAD_KEYS}


def head_settings(config: ExperimentConfig) -> "HeadSettings":
    """Return the hyper-parameters of the heads."""
    from models.heads import HeadSettings

    return HeadSettings(
        scaler=config.scaler,
        neighbors=config.knn_neighbors,
        c=config.svm_c,
        gamma=config.svm_gamma,
        trees=config.forest_trees,
        tune=config.tune_heads,
        seed=config.seed,
    )
