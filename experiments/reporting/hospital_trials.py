"""The trials of a campaign that ask whether a federation helps a hospital.

Such trials are simulated with the sources of a data set as hospitals, among them trials in which
each hospital trains alone. Those that share images, network and length are judged together.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.comparisons import slug
from experiments.reporting.hospital_answers import read_answers
from experiments.reporting.hospital_statistics import HospitalImages
from strategies.method import Method
from strategies.methods import DEFAULT, KEYS, METHODS
from training.config import HEAD_NAMES, NOT_IDENTITY, PATH_KEYS
from training.errors import RunFolderError
from training.losses import LOSSES

GLOBAL = "global test set"
"""Stands for a hospital where figures are of the global test set."""

ALONE, SHARED, OWN, POOLED = "alone", "global", "personal", "pooled"
"""Whose model it is: the hospital's alone, the federation's, the hospital's own in a federation, or
one that is trained on the images of all."""

# Keys of a method and of its training; a method may need others than the next one does. The names
# of a row say those that differ between trials of one method.
_OF_METHOD = (
    *("optimizer", "learning-rate", "weight-decay", "beta1", "beta2", "momentum"),
    *("schedule", "warmup-rounds", "step-rounds", "step-factor", "client-optimizer"),
    *("aggregation-weights", "min-replies", "clients-per-round", "clip-updates", "wire-format"),
    *("class-counts", "sampler", *KEYS),
)
_PATHS = tuple(key for key in PATH_KEYS if key != "init-from")  # a warm start is a setting
_WHERE = ("device", "threads-per-client", "seed", *NOT_IDENTITY, *_PATHS)
_CIRCUMSTANCES = ("synthetic", "fingerprint", "test_fingerprint", "command")


@dataclass(frozen=True)
class Entry:
    """One row of the tables: a method's model under a loss.

    Attributes:
        loss: name of the loss.
        method: its usual spelling, and the keys that distinguish it from others of this method.
        model: one of ``ALONE``, ``SHARED``, ``OWN`` and ``POOLED``.
        default: whether the method is the project's default.
        optimizer: of the clients.
        trials: ids by seed.
    """

    loss: str
    method: str
    model: str
    default: bool
    optimizer: str
    trials: dict[int, str] = field(hash=False)

    @property
    def federated(self) -> bool:
        """Whether a hospital could have it by joining a federation."""
        return self.model in (SHARED, OWN)


@dataclass(frozen=True)
class HospitalTrials:
    """Trials that are judged together.

    Attributes:
        name: as a file's name, unique in the campaign.
        title: what distinguishes them from other such trials of the campaign; may be empty.
        table: the ledger's first row of each trial, by trial.
        classes: K names.
        hospitals: their names, in the order of the clients.
        entries: by loss, alone first, pooled last.
        tests: the test images of each hospital, and of ``GLOBAL``, by seed.
        answers: (n, K) probabilities by entry, hospital or ``GLOBAL``, and seed.
        lacking: what is not in the figures, and why: one line each.
        leaks: what is known of images or lesions on both sides: one line each.
    """

    name: str
    title: str
    table: pd.DataFrame
    classes: list[str]
    hospitals: list[str]
    entries: list[Entry]
    tests: dict[str, dict[int, HospitalImages]]
    answers: dict[tuple[Entry, str, int], NDArray[np.float32]]
    lacking: list[str]
    leaks: list[str]

    @property
    def losses(self) -> list[str]:
        """The losses, in order."""
        return list(dict.fromkeys(entry.loss for entry in self.entries))

    @property
    def synthetic(self) -> bool:
        """Whether the images are synthetic."""
        return bool(self.table["synthetic"].any())

    @property
    def not_complete(self) -> list[str]:
        """One line for each trial in which a hospital missed a round or is missing in a figure."""
        rows = self.table[~self.table["complete"]]
        return [f"{trial}: {said}" for trial, said in rows["absences"].items()]


def grouped_trials(ledger: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the groups of trials that are judged together: a row each, by trial.

    Args:
        ledger: the table of a `Ledger`.
    """
    once = ledger.drop_duplicates("trial").set_index("trial")
    once = once[(once["command"] == "simulate") & (once["config.partition"] == "source")]
    if once.empty:
        return []
    groups = [rows for _, rows in once.groupby([once[name] for name in _alike(once)], sort=False)]
    return [
        rows
        for rows in groups
        if any(_stays_whole(METHODS[name]) for name in rows["config.strategy"])
        and rows["config.strategy"].nunique() > 1
    ]


def _alike(once: pd.DataFrame) -> list[str]:
    """Return the columns in which the trials of a group do not differ."""
    free = {"strategy", "loss", *_OF_METHOD, *_WHERE}
    columns = [str(name) for name in once]
    config = [
        name
        for name in columns
        if name.startswith("config.") and name.removeprefix("config.") not in free
    ]
    known = [name for name in config if once[name].notna().all()]  # others are of packages' methods
    return [*known, *_CIRCUMSTANCES]


def _stays_whole(method: Method) -> bool:
    """Return whether every array stays at its client, which so trains alone."""
    names = {*HEAD_NAMES, "trunk.weight"}
    return method.local_names(names) == names


def read_hospital_trials(
    ledger: pd.DataFrame, records: dict[str, TrialRecord], folder: Path
) -> list[HospitalTrials]:
    """Read the predictions of the hospitals' test images.

    Args:
        ledger: the table of a `Ledger`.
        records: of the trials, by id.
        folder: the campaign's.
    """
    groups = grouped_trials(ledger)
    titles = _titles(groups)
    return [
        _Reader(rows, records, folder).read(slug(f"hospitals {title}"), title)
        for rows, title in zip(groups, titles, strict=True)
    ]


def _titles(groups: Sequence[pd.DataFrame]) -> list[str]:
    """Return what distinguishes each group, as text for users."""
    if len(groups) < 2:
        return [""] * len(groups)
    first = pd.concat([rows.iloc[:1] for rows in groups])
    columns = [name for name in _alike(first) if first[name].nunique() > 1]
    return [
        " · ".join(f"{name.removeprefix('config.')} {row[name]}" for name in columns)
        for _, row in first.iterrows()
    ]


class _Reader:
    """Reads the predictions of a group of trials."""

    def __init__(self, rows: pd.DataFrame, records: dict[str, TrialRecord], folder: Path) -> None:
        self._rows, self._records, self._folder = rows, records, folder
        self._tests: dict[str, dict[int, HospitalImages]] = {}
        self._answers: dict[tuple[Entry, str, int], NDArray[np.float32]] = {}
        self._lacking: dict[str, int] = {}  # reasons, with the number of trials

    def read(self, name: str, title: str) -> HospitalTrials:
        """Read them all."""
        clients = list(dict.fromkeys(c for trial in self._rows.index for c in self._of(trial)))
        entries = sorted(self._entries(), key=_place)
        for entry in entries:
            for seed, trial in entry.trials.items():
                self._read_trial(entry, seed, trial, clients)
        lines = [
            f"{said} ({number} trials)" if number > 1 else said
            for said, number in self._lacking.items()
        ]
        return HospitalTrials(
            name=name,
            title=title,
            table=self._rows,
            classes=self._classes,
            hospitals=[title_of(client) for client in clients],
            entries=[entry for entry in entries if any(key[0] == entry for key in self._answers)],
            tests=self._tests,
            answers=self._answers,
            lacking=lines,
            leaks=list(self._leaks()),
        )

    @property
    def _classes(self) -> list[str]:
        return self._records[str(self._rows.index[0])].classes

    def _of(self, trial: str) -> dict[str, list[list[int]]]:
        return self._records[trial].of_clients

    def _entries(self) -> Iterator[Entry]:
        """Yield a row for each model that a method makes under a loss."""
        for (strategy, loss), rows in self._rows.groupby(
            ["config.strategy", "config.loss"], sort=False
        ):
            method = METHODS[str(strategy)]
            varied = _telling_apart(rows, (*_OF_METHOD, *method.keys))
            groups = list(rows.groupby(varied, sort=False)) if varied else [((), rows)]
            for values, alike in groups:
                keys = [column.removeprefix("config.") for column in varied]
                said = ", ".join(f"{k} {v}" for k, v in zip(keys, values, strict=True))
                seeds = {int(seed): str(trial) for trial, seed in alike["config.seed"].items()}
                for model in self._models(method, str(alike.index[0])):
                    yield Entry(
                        loss=str(loss),
                        method=f"{method.title} ({said})" if said else method.title,
                        model=model,
                        default=strategy == DEFAULT,
                        optimizer=str(alike["config.optimizer"].iloc[0]),
                        trials=seeds,
                    )

    def _models(self, method: Method, trial: str) -> tuple[str, ...]:
        """Return whose models a method's trials have."""
        if method.pooled:
            return (POOLED,)
        if _stays_whole(method):
            return (ALONE,)
        if self._records[trial].local_arrays:
            return (OWN,)  # the shared model has arrays that nobody trained
        # A method of which nothing stays in this network makes no models of the clients' own.
        has_own = method.has_own_models and method.local is None
        return (SHARED, OWN) if has_own else (SHARED,)

    def _read_trial(self, entry: Entry, seed: int, trial: str, clients: Sequence[str]) -> None:
        folder, method = self._folder / "trials" / trial, METHODS[self._strategy(trial)]
        beside = entry.model == SHARED and method.has_own_models and method.local is None
        file = "predictions-shared-test.csv" if beside else "predictions-test.csv"
        for client in clients:
            confusion = None if beside else self._of(trial).get(client)
            path = folder / "clients" / client.partition(" ")[0] / file
            self._take(entry, title_of(client), seed, path, confusion)
        if entry.model in (SHARED, POOLED):
            confusion = self._records[trial].confusions.get("network")
            if confusion is not None:
                path = folder / "predictions-global_test.csv"
                self._take(entry, GLOBAL, seed, path, confusion)

    def _strategy(self, trial: str) -> str:
        return str(self._rows.loc[trial, "config.strategy"])

    def _take(
        self,
        entry: Entry,
        hospital: str,
        seed: int,
        path: Path,
        confusion: list[list[int]] | None,
    ) -> None:
        if not path.is_file():
            self._lack(f"{entry.method}, {hospital}: {path.name} is missing: an earlier version")
            return
        try:
            images, answers = read_answers(path, self._classes, confusion)
        except RunFolderError as error:
            self._lack(f"{entry.method}, {hospital}: {error}")
            return
        known = self._tests.setdefault(hospital, {}).setdefault(seed, images)
        if not images.same_as(known):
            self._lack(f"{entry.method}, {hospital}: seed {seed} has other test images")
            return
        self._answers[entry, hospital, seed] = answers

    def _lack(self, said: str) -> None:
        self._lacking[said] = self._lacking.get(said, 0) + 1

    def _leaks(self) -> Iterator[str]:
        rows = self._rows
        found = rows["test_in_training"].dropna()
        if (found > 0).any():
            yield f"{found.max():.0f} images of the global test set are also in training"
        if found.empty and (rows["test_fingerprint"] != "").any():
            yield "Whether images of the global test set are also in training was not checked"
        trained = [image for of_seed in self._tests.values() for image in of_seed.values()]
        if (rows["config.split-by"] != "lesion").any() and any(t.unit == "lesion" for t in trained):
            yield (
                "A hospital's images of one lesion may be in its training and in its test images "
                "(split-by = image), so the figures by hospital may be too good"
            )
        if any(test.unit == "image" for test in trained):
            yield "Which images are of one lesion is not known, so intervals may be too narrow"
        yield from dict.fromkeys(said for trial in rows.index for said in self._notices(trial))

    def _notices(self, trial: str) -> list[str]:
        return self._records[trial].notices


def _place(entry: Entry) -> tuple[int, str, int, bool, str]:
    """Return the place of a row: by loss, then by whose model it is, the default method first."""
    losses, models = list(LOSSES.own), (ALONE, SHARED, OWN, POOLED)
    loss = losses.index(entry.loss) if entry.loss in losses else len(losses)
    return loss, entry.loss, models.index(entry.model), not entry.default, entry.method


def _telling_apart(rows: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Return the columns of the keys that differ; not of those that only follow from others."""
    columns = [name for key in dict.fromkeys(keys) if (name := f"config.{key}") in rows]
    rows = rows[columns].drop_duplicates()
    found: list[str] = []
    for column in columns:
        if _number(rows, [*found, column]) > max(1, _number(rows, found)):
            found.append(column)
    return found


def _number(rows: pd.DataFrame, columns: list[str]) -> int:
    return len(rows[columns].drop_duplicates()) if columns else 1


def title_of(client: str) -> str:
    """Return the source in a client's name, such as ``client-0 (rosendahl)``; or the name."""
    found = re.fullmatch(r"\S+ \((.+)\)", client)
    return client if found is None else found[1]
