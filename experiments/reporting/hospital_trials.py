"""The trials of a campaign that ask whether a federation helps a hospital.

Such trials are simulated with the sources of a data set as hospitals, among them trials in which
each hospital trains alone. Those that share images, network and length are judged together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.comparisons import IMAGES, WHERE
from strategies.method import Method
from strategies.methods import DEFAULT, METHODS
from training.config_faults import all_stays
from training.declared_keys import KEYS
from training.losses import LOSSES

ALONE, SHARED, OWN, POOLED = "alone", "global", "personal", "pooled"
"""Whose model it is: the hospital's alone, the federation's, the hospital's own in a federation, or
one that is trained on the images of all."""

FEDERATED = (SHARED, OWN)
"""Those that a hospital could have by joining a federation."""

# Keys of a method and of its training; a method may need others than the next one does. The names
# of a row say those that differ between trials of one method.
_OF_METHOD = (
    *("optimizer", "learning-rate", "weight-decay", "schedule", "warmup-rounds"),
    *("client-optimizer",),
    *("aggregation-weights", "min-replies", "clients-per-round", "clip-updates", "wire-format"),
    *("class-counts", "sampler", *KEYS),
)
_FREE = {"strategy", "loss", "seed", *_OF_METHOD, *WHERE}


@dataclass(frozen=True)
class Entry:
    """One row of the tables: a method's model under a loss.

    Attributes:
        loss: name of the loss.
        method: its usual spelling, and the keys that distinguish it from others of this method.
        model: one of ``ALONE``, ``SHARED``, ``OWN`` and ``POOLED``.
        default: whether the method is the project's default.
        optimizer: of the clients.
        validated: whether it is this model that rounds validate; not if it is tuned afterwards.
        trials: ids by seed.
    """

    loss: str
    method: str
    model: str
    default: bool
    optimizer: str
    validated: bool
    trials: dict[int, str] = field(hash=False)

    @property
    def federated(self) -> bool:
        """Whether a hospital could have it by joining a federation."""
        return self.model in FEDERATED


def grouped_trials(ledger: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the groups of trials that are judged together, a row for each trial, by trial.

    Args:
        ledger: the table of a `Ledger`.

    Returns:
        By what distinguishes each group from the others, as text for users; empty for the only one.
    """
    once = ledger.drop_duplicates("trial").set_index("trial")
    once = once[(once["command"] == "simulate") & (once["config.partition"] == "source")]
    if once.empty:
        return {}
    groups = [
        rows
        for _, rows in once.groupby([once[name] for name in _alike(once)], sort=False)
        if any(all_stays(METHODS[name]) for name in rows["config.strategy"])
        and rows["config.strategy"].nunique() > 1
    ]
    if len(groups) < 2:
        return dict(zip([""], groups, strict=False))
    first = pd.concat([rows.iloc[:1] for rows in groups])
    varied = [name for name in _alike(first) if first[name].nunique() > 1]
    titles = (
        " · ".join(f"{name.removeprefix('config.')} {row[name]}" for name in varied)
        for _, row in first.iterrows()
    )
    # In the order of their titles: that of the ledger is of the trials' ids.
    return dict(sorted(zip(titles, groups, strict=True), key=lambda group: group[0]))


def _alike(once: pd.DataFrame) -> list[str]:
    """Return the columns in which the trials of a group do not differ."""
    config = [
        name
        for name in map(str, once)
        if name.startswith("config.") and name.removeprefix("config.") not in _FREE
    ]
    known = [name for name in config if once[name].notna().all()]  # others are of packages' methods
    return [*known, *IMAGES]


def entries_of(rows: pd.DataFrame, records: Mapping[str, TrialRecord]) -> list[Entry]:
    """Return the models that the trials of a group made.

    By loss, then by whose model it is, those of the default method first.

    Args:
        rows: of the group.
        records: of its trials, by id.
    """
    losses, models = list(LOSSES.own), (ALONE, SHARED, OWN, POOLED)

    def place(entry: Entry) -> tuple[int, str, int, bool, str]:
        loss = losses.index(entry.loss) if entry.loss in losses else len(losses)
        return loss, entry.loss, models.index(entry.model), not entry.default, entry.method

    return sorted(_entries(rows, records), key=place)


def _entries(rows: pd.DataFrame, records: Mapping[str, TrialRecord]) -> Iterator[Entry]:
    for (strategy, loss), of_both in rows.groupby(["config.strategy", "config.loss"], sort=False):
        method = METHODS[str(strategy)]
        varied = _telling_apart(of_both, (*_OF_METHOD, *method.keys))
        groups = list(of_both.groupby(varied, sort=False)) if varied else [((), of_both)]
        for values, alike in groups:
            keys = [column.removeprefix("config.") for column in varied]
            said = ", ".join(f"{k} {v}" for k, v in zip(keys, values, strict=True))
            trials = {int(seed): str(trial) for trial, seed in alike["config.seed"].items()}
            beside = DEFAULT in set(rows.loc[rows["config.loss"] == loss, "config.strategy"])
            for model in _models(method, records[str(alike.index[0])], beside=beside):
                yield Entry(
                    loss=str(loss),
                    method=f"{method.title} ({said})" if said else method.title,
                    model=model,
                    default=strategy == DEFAULT,
                    optimizer=str(alike["config.optimizer"].iloc[0]),
                    validated=model != (OWN if method.own_half is None else SHARED)
                    or not has_both(method),
                    trials=trials,
                )


def _models(method: Method, record: TrialRecord, *, beside: bool) -> tuple[str, ...]:
    """Return whose models a method's trials have.

    Args:
        beside: whether there are trials of the default method with the same loss.
    """
    if method.pooled:
        return (POOLED,)
    if all_stays(method):
        return (ALONE,)
    if record.local_arrays:
        return (OWN,)  # the shared model has arrays that nobody trained
    if not has_both(method):
        return (SHARED,)
    return (OWN,) if beside and shares_the_default(method) else (SHARED, OWN)


def has_both(method: Method) -> bool:
    """Return whether its clients have whole models of their own beside the shared one.

    A method of which some arrays may stay has none in a network of which nothing stays.
    """
    return method.has_own_models and method.local is None


def shares_the_default(method: Method) -> bool:
    """Return whether what is shared is made as by the default method, as Ditto's and FineTune's is.

    Then the shared model is no other method's. It may be of another round, since it is not it that
    Ditto's rounds validate, and that difference would pass for one of the methods.
    """
    default = METHODS[DEFAULT]
    return all(
        getattr(method, name) == getattr(default, name)
        for name in ("client_half", "server_step", "flower", "weight", "local")
    )


def _telling_apart(rows: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Return the columns of the keys that differ; not of those that only follow from others."""
    found: list[str] = []
    number = 1
    for column in (f"config.{key}" for key in dict.fromkeys(keys)):
        if column in rows and (more := len(rows[[*found, column]].drop_duplicates())) > number:
            found.append(column)
            number = more
    return found
