"""The ledger: one table of all figures of a campaign, computed from its run folders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_partition.datasets import known_classes
from experiments.campaigns.finished_trial import FinishedTrial, TrialRecord, read_finished
from experiments.campaigns.run_files import Block, Figures, PooledBlock
from operation.files import replacing
from training.config import DEFAULTS, ExperimentConfig
from training.errors import RunFolderError
from training.metrics import METRIC_NAMES, recall_by_class
from training.scores import SCORES, scores_with
from training.study import RESOLVED_NUMBERS

BY_CLASS = tuple(name for name, score in SCORES.items() if score.by_class)
_INTERVALS = tuple(f"{name}_{end}" for name in METRIC_NAMES for end in ("low", "high"))


def _config_type(key: str) -> type:
    # The keys of packages are numbers, too.
    numbers = key in RESOLVED_NUMBERS or key not in DEFAULTS
    return float if numbers else type(DEFAULTS[key])


COLUMNS: dict[str, type] = {
    **dict.fromkeys(("trial", "command", "test_set", "model", "unit"), str),
    "n": int,
    **dict.fromkeys((*METRIC_NAMES, *_INTERVALS), float),
    "bacc_classes": int,
    **{f"{what}.{name}": float for what in ("recall", "support") for name in known_classes()},
    **dict.fromkeys((name for name in SCORES if name not in METRIC_NAMES), float),
    **{f"{score}.{name}": float for score in BY_CLASS for name in known_classes()},
    "clients_missing": str,
    "no_histograms": str,
    "client_rounds": float,
    "client_rounds_asked": float,
    "complete": bool,
    "absences": str,
    **dict.fromkeys(("best_round", "rounds"), int),
    **dict.fromkeys(("seconds", "seconds_transport", "seconds_waiting"), float),
    **dict.fromkeys(("bytes_sent", "bytes_received", "peak_memory"), float),
    **dict.fromkeys(("started", "finished", "host"), str),
    "synthetic": bool,
    **dict.fromkeys(("text_weights", "fingerprint", "test_fingerprint"), str),
    "test_in_training": float,
    **dict.fromkeys(("weights_sha256", "fedskin_version"), str),
    **{f"config.{key}": _config_type(key) for key in DEFAULTS},
}
"""The ledger's columns in order, with their types; docs/ledger.md describes them. The figures of
classes that no published data set has follow at the end, and the keys that packages bring."""


# For a client that did not evaluate the best model.
_NOTHING: dict[str, Any] = {"n": 0, **dict.fromkeys(SCORES), "bacc_classes": 0}


@dataclass(frozen=True)
class Ledger:
    """The figures of a campaign so far.

    Attributes:
        table: a row for each finished trial, test set, model and unit, with ``COLUMNS``. Rows are
            sorted by trial; then by test set: global, the clients' pooled, each client's; then
            network before heads; then images before patients.
        set_aside: by name, for each folder that is damaged or not a trial's, the reason in one
            line.
        records: of the finished trials, by their id.
    """

    table: pd.DataFrame
    set_aside: dict[str, str]
    records: dict[str, TrialRecord]


def read_ledger(folder: Path) -> Ledger:
    """Read the ledger from a campaign's run folders.

    A trial that is not finished has no rows. Damaged and foreign folders are named in ``set_aside``
    and not moved.

    Args:
        folder: the campaign's; without trials the table is empty.
    """
    rows: list[dict[str, Any]] = []
    set_aside: dict[str, str] = {}
    records: dict[str, TrialRecord] = {}
    for path in sorted((folder / "trials").glob("[!.]*")):
        if not path.is_dir():
            continue
        try:
            trial = read_finished(path)
        except RunFolderError as error:
            set_aside[path.name] = str(error)
            continue
        if trial is not None:
            about = columns_of(trial)
            rows += [{**about, **figures} for figures in TestRows(trial)]
            records[trial.id] = trial.record
    further = {column for row in rows for column in row} - COLUMNS.keys()
    columns = COLUMNS | dict.fromkeys(sorted(further), float)
    table = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    return Ledger(table, set_aside, records)


def write_ledger(folder: Path, ledger: Ledger) -> None:
    """Write ``ledger.parquet`` and ``ledger.csv`` into a campaign's folder, each atomically."""
    with replacing(folder / "ledger.parquet") as temporary:
        ledger.table.to_parquet(temporary, index=False)
    with replacing(folder / "ledger.csv") as temporary:
        ledger.table.to_csv(temporary, index=False)


def columns_of(trial: FinishedTrial) -> dict[str, Any]:
    """Return the columns that are equal in all rows of a trial."""
    manifest, metrics = trial.manifest, trial.metrics
    return {
        "trial": trial.id,
        "command": manifest.command,
        "complete": not trial.absences,
        "absences": "; ".join(f"{client}: {said}" for client, said in trial.absences.items()),
        "best_round": metrics.best_round,
        "rounds": metrics.rounds,
        "seconds": sum(r.seconds.round for r in trial.rounds),
        "seconds_transport": _total([r.seconds.transport for r in trial.rounds]),
        "seconds_waiting": _total([r.seconds.waiting for r in trial.rounds]),
        "bytes_sent": _total([r.bytes_sent for r in trial.rounds]),
        "bytes_received": _total([r.bytes_received for r in trial.rounds]),
        "peak_memory": manifest.trial.peak_memory,
        "started": manifest.started.isoformat(),
        "finished": manifest.finished.isoformat(),
        "host": manifest.machine.host,
        "synthetic": manifest.data.synthetic,
        "text_weights": "" if manifest.text is None else manifest.text.weights,
        "fingerprint": manifest.data.fingerprint,
        "test_fingerprint": manifest.data.test_fingerprint or "",
        "test_in_training": manifest.data.overlap and manifest.data.overlap.in_training,
        "weights_sha256": metrics.weights_sha256,
        "fedskin_version": manifest.versions.get("fedskin", ""),
        **_config_columns(trial.config),
    }


def _total(values: Sequence[float | None]) -> float | None:
    """Return the sum; None if a run sends nothing."""
    return None if None in values else sum(value for value in values if value is not None)


def _config_columns(config: ExperimentConfig) -> dict[str, Any]:
    # svm-gamma may be a word or a number; a column has one type, so it is stored as text.
    return {f"config.{key}": _config_type(key)(value) for key, value in config.to_flat().items()}


class TestRows:
    """The figures of a trial, a row for each test set, model and unit."""

    __test__ = False  # what pytest would take for a test

    def __init__(self, trial: FinishedTrial) -> None:
        self._metrics = trial.metrics
        self._classes = trial.manifest.data.classes
        self._scores = scores_with(trial.config.best_by)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        metrics, heads = self._metrics, self._metrics.heads or {}
        if metrics.global_test is not None:
            yield from self._by_unit("global_test", "network", metrics.global_test)
        if metrics.left_out is not None:
            yield from self._by_unit("left_out", "network", metrics.left_out)
        for head, block in heads.items():
            if head != "network":  # which equals the global test set's
                yield from self._by_unit("global_test", head, block)
        if metrics.client_test is not None:
            yield from self._pooled("client_test", metrics.client_test)
        for name in ("global_test", "left_out"):
            if (averaged := getattr(metrics.ema, name)) is not None:
                yield from self._by_unit(f"ema_{name}", "network", averaged)
        if metrics.ema.client_test is not None:
            yield from self._pooled("ema_client_test", metrics.ema.client_test)
        asked = metrics.sampled or dict.fromkeys(metrics.participation, metrics.rounds)
        for client, rounds in metrics.participation.items():
            nobody = {"test_set": client, "model": "network", "unit": "image", **_NOTHING}
            rows = [{**nobody, "no_histograms": ""}]
            if client in metrics.clients:
                rows = list(self._by_unit(client, "network", metrics.clients[client]))
            missing = "" if client in metrics.clients else client
            for row in rows:
                yield {
                    **row,
                    "client_rounds": rounds,
                    "client_rounds_asked": asked[client],
                    "clients_missing": missing,
                }

    def _pooled(self, test_set: str, block: PooledBlock) -> Iterator[dict[str, Any]]:
        missing, unknown = ", ".join(block.missing), ", ".join(block.no_histograms)
        for row in self._by_unit(test_set, "network", block):
            if block.patients is not None and row["unit"] == "patient":
                missing, unknown = ", ".join(block.patients.missing), ""
            yield {**row, "clients_missing": missing, "no_histograms": unknown}

    def _by_unit(self, test_set: str, model: str, block: Block) -> Iterator[dict[str, Any]]:
        where = {"test_set": test_set, "model": model, "clients_missing": "", "no_histograms": ""}
        bounds = {
            f"{name}_{end}": value
            for name, interval in block.intervals.items()
            for end, value in zip(("low", "high"), interval or (None, None), strict=True)
        }
        yield {**where, "unit": "image", **self._values(block), **bounds}
        if block.patients is not None:
            yield {**where, "unit": "patient", **self._values(block.patients)}

    def _values(self, figures: Figures) -> dict[str, Any]:
        counts = recall_by_class(np.array(figures.confusion))
        by_class = dict(zip(self._classes, counts, strict=True))
        return {
            "n": figures.n,
            **{name: getattr(figures, name, None) for name in self._scores},
            "bacc_classes": sum(of > 0 for _, of in counts),
            **{f"recall.{k}": 100 * found / of for k, (found, of) in by_class.items() if of},
            **{f"support.{name}": of for name, (_, of) in by_class.items()},
            **{
                f"{score}.{name}": figure
                for score in BY_CLASS
                for name, figure in zip(
                    self._classes, figures.by_class.get(score, [None] * len(counts)), strict=True
                )
            },
        }
