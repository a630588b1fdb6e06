"""What is tracked of a run: named figures at one time, of each round and of the end."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from experiments.campaigns.finished_trial import FinishedTrial
from experiments.campaigns.ledger import BY_CLASS, TestRows, columns_of
from experiments.campaigns.run_files import Round, RoundFigures
from training.scores import scores_with

# MLflow's limit of a name; TensorBoard has none.
_NAME_LENGTH = 250
_NOT_IN_NAMES = re.compile(r"[^\w.\- ]")
_TOTALS = ("seconds", "seconds_transport", "seconds_waiting", "bytes_sent", "bytes_received")


class Point(NamedTuple):
    """A figure at one time."""

    name: str
    value: float
    milliseconds: int  # since 1970
    step: int  # the round or epoch


def round_points(record: Round, time: int, best_by: str) -> list[Point]:
    """Return the figures of a round: of its validation, by client too, its loss and its cost.

    The last one is ``seconds``, which every round has.

    Args:
        time: of the round's end, in milliseconds since 1970.
        best_by: the config's key; a package's score is among the figures if this names it.
    """
    values: dict[str, float | None] = {}
    for client, figures in record.validation.clients.items():
        values |= _scores(f"validation.{client}.", figures, best_by)
    values |= {f"train_loss.{name}": done.train_loss for name, done in record.clients.items()}
    values |= _scores("validation.", record.validation.pooled, best_by)
    values |= {
        "train_loss": record.train_loss,
        "seconds_transport": record.seconds.transport,
        "seconds_waiting": record.seconds.waiting,
        "bytes_sent": record.bytes_sent,
        "bytes_received": record.bytes_received,
        "seconds": record.seconds.round,
    }
    return list(_points(values, time, record.round))


def final_points(run: FinishedTrial) -> list[Point]:
    """Return the best model's figures on each test set, and the totals of the run."""
    about = columns_of(run)
    values: dict[str, Any] = {f"total.{name}": about[name] for name in _TOTALS}
    values["peak_memory"] = about["peak_memory"]
    scores = scores_with(run.config.best_by)
    for row in TestRows(run):
        unit = ".patient" if row["unit"] == "patient" else ""
        by_class = [name for name in row if name.partition(".")[0] in ("recall", *BY_CLASS)]
        for score in (*scores, *by_class):
            if score in row:  # of a client that tested nothing, the scores by class are not
                values[f"{row['test_set']}.{row['model']}.{score}{unit}"] = row[score]
    return list(_points(values, milliseconds(run.manifest.finished), run.metrics.best_round))


def milliseconds(moment: datetime) -> int:
    """Return a time in milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def _scores(prefix: str, figures: RoundFigures, best_by: str) -> dict[str, float | None]:
    if not figures.n:  # nothing was validated, whatever the loss of no image is
        return {}
    return {
        f"{prefix}{name}": getattr(figures, name, None) for name in ("loss", *scores_with(best_by))
    }


def _points(values: dict[str, Any], time: int, step: int) -> Iterator[Point]:
    for name, value in values.items():
        if pd.notna(value):
            yield Point(_NOT_IN_NAMES.sub("_", name)[-_NAME_LENGTH:], float(value), time, step)
