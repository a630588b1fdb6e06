"""Evaluates a network on a split, with the figures that the run folder stores."""

from typing import Any

from torch import nn

from training.config import ExperimentConfig
from training.epoch import Evaluation, evaluate
from training.network import preprocessing
from training.run_folder import RunFolder
from training.scores import score_block
from training.split import GlobalTestSet, Split
from training.uncertainty import intervals


def evaluate_split(
    config: ExperimentConfig, network: nn.Module, split: Split, num_classes: int
) -> Evaluation:
    """Evaluate a network with its config's batch size, preprocessing and precision.

    Raises:
        TrainingError: an output is NaN or infinite.
    """
    return evaluate(
        network,
        split,
        num_classes=num_classes,
        batch_size=config.batch_size,
        preprocessing=preprocessing(config, split),
        precision=config.precision,
    )


def evaluation_block(evaluation: Evaluation) -> dict[str, Any]:
    """Return the block of an evaluation, also by patient if the split has patients."""
    result = {**score_block(evaluation.images.counts()), "loss": evaluation.loss}
    if evaluation.patients is not None:
        result["patients"] = score_block(evaluation.patients.counts())
    return result


def evaluate_on_test_set(
    config: ExperimentConfig,
    network: nn.Module,
    test_data: GlobalTestSet,
    folder: RunFolder,
    test_set: str,
) -> dict[str, Any]:
    """Evaluate a network on the test set, store its predictions, and return the block.

    The block has ``intervals``, the 95 % interval of each figure, for which a patient's images are
    drawn together; and ``in_training``, the number of images that are also in training, None if
    this cannot be checked.

    Args:
        config: resolved; its seed is used for the draws.
        network: on its device.
        test_data: the images.
        folder: the run's.
        test_set: names the file ``predictions-<test_set>.csv``.
    """
    classes, split = test_data.classes, test_data.split
    evaluation = evaluate_split(config, network, split, len(classes))
    folder.write_predictions(
        test_set,
        test_data.rows,
        evaluation.images.probabilities,
        classes,
        by_patient=evaluation.patients is not None,
    )
    found = intervals(
        evaluation.images.labels,
        evaluation.images.predicted,
        len(classes),
        seed=config.seed,
        groups=None if split.patients is None else split.patients[split.indices],
    )
    overlap = test_data.overlap
    return {
        **evaluation_block(evaluation),
        "in_training": None if overlap is None else len(overlap),
        "intervals": found,
    }
