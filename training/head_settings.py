"""The classical heads of a config.

scikit-learn, which takes a second, is imported only to make its settings.
"""

from typing import TYPE_CHECKING

from models.head_names import HEADS
from training.config import ExperimentConfig, Scalar

if TYPE_CHECKING:
    from models.heads import HeadSettings

# The keys that do not affect the network: heads that differ only in them share one.
HEAD_KEYS = (
    *("heads", "scaler", "knn-neighbors", "svm-c", "svm-gamma", "forest-trees"),
    "tune-heads",
)

# Those that concern one head only.
_OF_ONE = {"knn-neighbors": "knn", "svm-c": "svm", "svm-gamma": "svm", "forest-trees": "rf"}

# The entry of metrics.json with the values of these keys that its heads were fitted with.
FITTED_WITH = "head_settings"


def heads_of(config: ExperimentConfig) -> tuple[str, ...]:
    """Return the heads to fit, in the order of `models.head_names.HEADS`."""
    named = config.heads.split(",")
    return tuple(head for head in HEADS if head in named)


def heads_with(key: str) -> tuple[str, ...]:
    """Return the heads whose figures one of ``HEAD_KEYS`` may change; of key ``heads`` none."""
    if key == "heads":
        return ()
    return (_OF_ONE[key],) if key in _OF_ONE else HEADS


def head_values(config: ExperimentConfig) -> dict[str, Scalar]:
    """Return ``HEAD_KEYS`` with their values; equal values mean the same heads for a network."""
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
