"""What the report shows of a trial in addition to its rows in the ledger."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from operation.parsing import parse_json
from training.errors import RunFolderError


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


def read_trial_record(folder: Path) -> TrialRecord:
    """Read a trial's record.

    Args:
        folder: run folder of a finished trial, already checked by the ledger.

    Raises:
        RunFolderError: something is missing that the ledger does not need.
    """
    try:
        return _read_record(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"no curve or counts can be read: {error!r}") from None


def _read_record(folder: Path) -> TrialRecord:
    metrics = _read(folder / "metrics.json")
    blocks = {"network": metrics.get("global_test"), **metrics.get("heads", {})}
    lines = (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    rounds = [parse_json(line) for line in lines]
    pooled = [record["validation"]["pooled"] for record in rounds]
    curve = pd.DataFrame(
        {
            "train_loss": [record["train_loss"] for record in rounds],
            "validation_loss": [block.get("loss") for block in pooled],
            "validation_avg": [block["avg"] for block in pooled],
        },
        index=pd.Index([record["round"] for record in rounds], name="round"),
        dtype=float,
    )
    return TrialRecord(
        curve=curve,
        classes=_read(folder / "manifest.json")["data"]["classes"],
        confusions={name: block["confusion"] for name, block in blocks.items() if block},
    )


def _read(path: Path) -> Any:
    return parse_json(path.read_text(encoding="utf-8"))
