"""Checks what a run starts from before images are decoded, because decoding may take an hour."""

from collections.abc import Sequence
from pathlib import Path

from training.clip_text import prepare_text
from training.config import ExperimentConfig
from training.run_folder import RunFolder


def prefetch(config: ExperimentConfig, folder: RunFolder, classes: Sequence[str] | None) -> None:
    """Find, download or compute what a run starts from, so that errors come before the start.

    These are the text features and the pretrained weights. A resumed run has its own, except its
    base, which is built again.

    Args:
        classes: None if they are not known yet: then there are no text features.

    Raises:
        WeightsError: weights are missing or unusable.
    """
    if classes is not None and not folder.text_path.is_file():
        prepare_text(config, classes)
    if config.trainable != "all" or not folder.checkpoint.progress().round:
        prefetch_weights(config)


def prefetch_base(config: ExperimentConfig) -> None:
    """Find or download the weights of a network's base, if it has one.

    Raises:
        WeightsError: they are missing or unusable.
    """
    if config.trainable != "all":
        prefetch_weights(config)


def prefetch_weights(config: ExperimentConfig) -> None:
    """Find or download a backbone's pretrained weights, if the config wants them.

    Raises:
        WeightsError: they are missing or unusable.
    """
    if not config.pretrained:
        return
    # Imported here: torch takes seconds, and runs without pretrained weights do not need it.
    from models.backbones import locate_pretrained

    locate_pretrained(config.backbone, Path(config.weights_dir) if config.weights_dir else None)
