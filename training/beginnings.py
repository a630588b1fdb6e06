"""What a run begins with, asked for before any image is decoded, which may take an hour."""

from collections.abc import Sequence
from pathlib import Path

from training.config import ExperimentConfig
from training.run_folder import RunFolder
from training.text import prepare_text


def bring_beginnings(config: ExperimentConfig, folder: RunFolder, classes: Sequence[str]) -> None:
    """Find, fetch or compute what a run starts from, so that its lack is said before it starts.

    These are the text features and the pretrained weights. A run that goes on has its own, but
    for a base, which is built anew.

    Raises:
        WeightsError: weights are missing or unusable.
    """
    if not folder.text_path.is_file():
        prepare_text(config, classes)
    if config.trainable != "all" or not folder.checkpoint.progress().round:
        bring_weights(config)


def bring_base(config: ExperimentConfig) -> None:
    """Find or fetch the weights of a network's base, where it has one.

    Raises:
        WeightsError: they are missing or unusable.
    """
    if config.trainable != "all":
        bring_weights(config)


def bring_weights(config: ExperimentConfig) -> None:
    """Find or fetch a backbone's pretrained weights, where the config wants them.

    Raises:
        WeightsError: they are missing or unusable.
    """
    if not config.pretrained:
        return
    # Imported here: torch takes seconds, which runs without pretrained weights need not wait for.
    from models.backbones import locate_pretrained

    locate_pretrained(config.backbone, Path(config.weights_dir) if config.weights_dir else None)
