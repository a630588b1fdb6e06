"""What a report shows of a trial in addition to its rows in the ledger."""

from dataclasses import dataclass

import pandas as pd

from experiments.campaigns.finished_trial import FinishedTrial


@dataclass(frozen=True)
class TrialRecord:
    """The curve and the counts of one trial.

    Attributes:
        curve: a row for each round (the index, from 1), with ``train_loss``, ``validation_loss``
            and ``validation_avg``, the pooled one in percent; NaN if nothing was validated.
        classes: names of the rows and columns of the confusion matrices.
        confusions: counts (K, K) on the global test set by model, true classes in rows.
    """

    curve: pd.DataFrame
    classes: list[str]
    confusions: dict[str, list[list[int]]]


def record_of(trial: FinishedTrial) -> TrialRecord:
    """Return a trial's record."""
    rounds, metrics = trial.rounds, trial.metrics
    pooled = [each.validation.pooled for each in rounds]
    curve = pd.DataFrame(
        {
            "train_loss": [each.train_loss for each in rounds],
            "validation_loss": [figures.loss for figures in pooled],
            "validation_avg": [getattr(figures, "avg") for figures in pooled],  # noqa: B009
        },
        index=pd.Index([each.round for each in rounds], name="round"),
        dtype=float,
    )
    blocks = {"network": metrics.global_test, **(metrics.heads or {})}
    return TrialRecord(
        curve=curve,
        classes=trial.manifest.data.classes,
        confusions={name: block.confusion for name, block in blocks.items() if block is not None},
    )
