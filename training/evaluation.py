"""The figures of an evaluation, as the run folder stores them."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from training.calibration import Calibration
from training.epoch import Evaluation
from training.feature_splits import open_feature_splits
from training.predictions import write_predictions
from training.run_folder import RunFolder
from training.scores import score_block
from training.split import GlobalTestSet
from training.task import Task
from training.uncertainty import intervals


def evaluation_block(evaluation: Evaluation, best_by: str) -> dict[str, Any]:
    """Return the block of an evaluation, also by patient if the split has patients."""
    result = {**score_block(evaluation.images.counts(), best_by), "loss": evaluation.loss}
    if evaluation.patients is not None:
        result["patients"] = score_block(evaluation.patients.counts())
    return result


def evaluate_on_test_set(
    task: Task,
    weights: Mapping[str, NDArray],
    test_data: GlobalTestSet,
    folder: RunFolder,
    test_set: str,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Evaluate a network on the test set, store its predictions, and return the block.

    The block has ``intervals``, the 95 % interval of each figure, for which a patient's images are
    drawn together; and ``in_training``, the number of images that are also in training, None if
    this cannot be checked.

    Where a trunk never changes and the task names its base, its features of the test images are
    kept beside the image store, for all runs that need them; the figures are the same.

    Args:
        weights: of the network, see `Task.restore`.
        test_set: names the file ``predictions-<test_set>.csv``.
        calibration: of the same model; the block then has its ``sets`` and ``calibrated``, see
            `Calibration.blocks`.
    """
    classes, split = test_data.classes, test_data.split
    evaluation = _evaluate(task, weights, test_data)
    write_predictions(
        folder.predictions_path(test_set),
        test_data.rows,
        evaluation.images.probabilities,
        classes,
        by_patient=evaluation.patients is not None,
    )
    found = intervals(
        evaluation.images.labels,
        evaluation.images.predicted,
        len(classes),
        seed=task.config.seed,
        groups=split.own_patients,
    )
    overlap = test_data.overlap
    return {
        **evaluation_block(evaluation, task.config.best_by),
        **({} if calibration is None else calibration.blocks(evaluation.images)),
        "in_training": None if overlap is None else len(overlap),
        "intervals": found,
    }


def _evaluate(task: Task, weights: Mapping[str, NDArray], test_data: GlobalTestSet) -> Evaluation:
    if not (task.config.on_features and task.base):
        return task.judge(task.restore(weights), test_data.split)
    splits = open_feature_splits(
        task.config.replace(augmented_views=0),  # of which no test image has any
        {"test": test_data.split},
        fingerprint=test_data.fingerprint,
        client_index=0,
        base=task.base,
    )
    return task.evaluate(task.restore_over_features(weights), splits["test"])
