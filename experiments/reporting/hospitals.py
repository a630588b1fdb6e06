"""Does a federation help this hospital? The figures of each hospital, alone and in a federation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.datasets import named_first
from experiments.reporting.hospital_answers import GLOBAL, HospitalTrials
from experiments.reporting.hospital_resampling import RESAMPLES, Resampling
from experiments.reporting.hospital_statistics import (
    SCORES,
    HospitalImages,
    Judged,
    estimate,
    interval,
)
from experiments.reporting.hospital_trials import ALONE, FEDERATED, POOLED, Entry
from experiments.reporting.statistics import ALPHA, holm

RARE = 5
"""Of a class with fewer lesions than this, over all seeds, the intervals do not say how sure."""

ENDS = ("low", "high", "sd")
"""With ``bacc``: the columns ``bacc_low``, …; see `hospital_statistics.PooledFigure`."""

GAIN = ("before", "gain", "gain_low", "gain_high", "p_value")
"""The columns of a `hospital_resampling.Gain`."""

_FIGURES = (
    *("entry", "loss", "method", "model", "hospital", "seeds"),
    *(column for score in SCORES for column in (score, *(f"{score}_{end}" for end in ENDS))),
    *(*GAIN, "p_holm"),
)

FEW = 10
"""With fewer test images of a class than this a seed, on average, its sensitivity is not given."""


@dataclass(frozen=True)
class Hospitals:
    """The figures of trials that are judged together.

    Attributes:
        trials: what was read.
        figures: a row for each entry of the trials (its number in ``entry``) and hospital, with:
            ``loss``, ``method``, ``model``, ``hospital``, ``seeds`` (their number); for each of
            `hospital_statistics.SCORES` its mean over the seeds, and as ``bacc_low``, ``bacc_high``
            and ``bacc_sd`` its interval and its standard deviation over the seeds; ``gain``,
            ``gain_low`` and ``gain_high``, BACC minus that of training alone in percentage points,
            over the seeds of both, and ``before``, that of training alone with these;
            ``p_value`` of that gain, and ``p_holm``, corrected for all hospitals, methods and
            losses; both NaN for what is not in a federation.
        global_figures: the same on the global test set, where no hospital alone has a model: a
            gain is over the default method's shared model, and ``p_holm`` is corrected for these.
        tests: a row for each hospital: ``images`` and ``lesions`` (means over the seeds),
            ``positives`` (mean number of images of ``positive``), ``unit`` (what ``lesions``
            counts), and ``rare``, the classes with fewer than ``RARE`` of them, with their number,
            as text.
        positive: name of the class whose sensitivity is given; empty: none.
        draws: BACC (R,) by entry's number, the mean over the hospitals in each bootstrap draw.
        methods: a row for each entry, by its number: ``loss``, ``method``, ``model``, ``seeds``;
            ``hospitals``, of how many there is a figure; ``validated``, the mean BACC on the
            validation images, NaN if that is of another model; ``auroc``, the mean of their AUROC;
            ``mean``, ``worst`` and ``spread`` of their BACC (best minus worst),
            ``worst_hospital``; ``apart``, the mean minus that of pooled training with the same
            loss, and as ``mean_low``, ``apart_low``, … intervals; ``gain``, the mean; ``gains``,
            ``losses``, ``sure_gains`` and ``sure_losses``: how many hospitals gain, lose, and do so
            with p below ``ALPHA`` after correction; ``bytes_sent``, ``bytes_received`` and
            ``seconds`` of a trial, means over the seeds.
    """

    trials: HospitalTrials
    figures: pd.DataFrame
    global_figures: pd.DataFrame
    tests: pd.DataFrame
    positive: str
    draws: Mapping[int, NDArray[np.float64]]

    def entry(self, number: int) -> Entry:
        """Return an entry by its number."""
        return self.trials.entries[number]

    @property
    def num_tests(self) -> int:
        """How many gains are tested, for how many p-values are corrected."""
        return int(self.figures["p_value"].notna().sum())

    def of(self, number: int) -> pd.DataFrame:
        """Return the figures of an entry by hospital."""
        rows = self.figures[self.figures["entry"] == number]
        return rows.set_index("hospital")

    def at(self, number: int, hospital: str) -> "pd.Series[Any] | None":
        """Return the figures of an entry at a hospital; None if there are none."""
        return self._rows.get((number, hospital))

    @cached_property
    def _rows(self) -> "dict[tuple[int, str], pd.Series[Any]]":
        return {(row["entry"], row["hospital"]): row for _, row in self.figures.iterrows()}

    def best(self, loss: str | None = None, model: str | None = None) -> int | None:
        """Return the entry in a federation with the highest mean BACC on the validation images.

        Chosen by test images, the best of many would look better than it is. Only entries with the
        most hospitals and seeds count, so that means are comparable.

        Args:
            loss: under which; None: any.
            model: of this kind only; None: any.
        """
        if not self.trials.entries:
            return None
        rows = self.methods[self.methods["model"].isin(FEDERATED if model is None else [model])]
        rows = rows[rows["loss"] == loss] if loss is not None else rows
        rows = rows[rows["validated"].notna() & (rows["hospitals"] > 0)]
        if rows.empty:
            return None
        rows = rows[rows["hospitals"] == rows["hospitals"].max()]
        rows = rows[rows["seeds"] == rows["seeds"].max()]
        return int(rows["validated"].idxmax())

    @cached_property
    def methods(self) -> pd.DataFrame:
        """See the class."""
        return pd.DataFrame([self._method(number) for number in range(len(self.trials.entries))])

    def _method(self, number: int) -> dict[str, object]:
        entry, rows = self.entry(number), self.of(number)
        trials = self.trials.table.loc[list(entry.trials.values())]
        gains = rows["gain"].dropna()
        sure = rows.loc[gains.index, "p_holm"] < ALPHA
        draws = self.draws[number]
        apart = (np.nan, np.nan, np.nan)
        if (ceiling := self._pooled(number)) is not None:
            apart = (
                float(rows["bacc"].mean() - self.of(ceiling)["bacc"].mean()),
                *interval(draws - self.draws[ceiling]),
            )
        return {
            "loss": entry.loss,
            "method": entry.method,
            "model": entry.model,
            "seeds": int(rows["seeds"].min()) if len(rows) else len(entry.trials),
            "hospitals": len(rows),
            "validated": self.trials.validated_bacc(entry) if entry.validated else np.nan,
            "mean": rows["bacc"].mean(),
            **dict(zip(("mean_low", "mean_high"), interval(draws), strict=True)),
            **dict(zip(("apart", "apart_low", "apart_high"), apart, strict=True)),
            "auroc": rows["auroc"].mean(),
            "worst": rows["bacc"].min(),
            "worst_hospital": rows["bacc"].idxmin() if len(rows) else "",
            "spread": rows["bacc"].max() - rows["bacc"].min(),
            "gain": gains.mean() if len(gains) else np.nan,
            "gains": int((gains > 0).sum()),
            "losses": int((gains < 0).sum()),
            "sure_gains": int(((gains > 0) & sure).sum()),
            "sure_losses": int(((gains < 0) & sure).sum()),
            **trials[["bytes_sent", "bytes_received", "seconds"]].mean(),
        }

    def _pooled(self, number: int) -> int | None:
        """Return the ceiling of an entry, if it has answers at the same hospitals and seeds."""
        entry = self.entry(number)
        for other, pooled in enumerate(self.trials.entries):
            alike = (pooled.loss, pooled.trials.keys()) == (entry.loss, entry.trials.keys())
            if alike and pooled.model == POOLED and entry.model != POOLED:
                return other if self._answered(other) == self._answered(number) else None
        return None

    def _answered(self, number: int) -> set[tuple[str, int]]:
        """Return the hospitals and seeds of which an entry's answers could be read."""
        entry = self.entry(number)
        return {
            (at, seed)
            for at in self.trials.hospitals
            for seed in entry.trials
            if (entry, at, seed) in self.trials.answers
        }


def judge_hospitals(trials: HospitalTrials) -> Hospitals:
    """Compute all figures."""
    positive = next((name for name in named_first() if name in trials.classes), "")
    places = [*trials.hospitals, GLOBAL]
    found = {
        at: _of_hospital(trials, at, positive, seed=number)
        for number, at in enumerate(places)
        if at in trials.tests
    }
    whole, _ = found.pop(GLOBAL, (pd.DataFrame(), {}))
    tables = [table for table, _ in found.values()]
    figures = pd.DataFrame(columns=_FIGURES, dtype=float)  # if no predictions can be read
    if tables:
        figures = pd.concat(tables, ignore_index=True)
    tests = pd.DataFrame([_about_tests(trials, at, positive) for at in places], index=places)
    draws = {
        number: np.mean(of_entry, axis=0) if of_entry else np.full(RESAMPLES, np.nan)
        for number in range(len(trials.entries))
        for of_entry in [[of[number] for _, of in found.values() if number in of]]
    }
    return Hospitals(trials, _corrected(figures), _corrected(whole), tests, positive, draws)


def _corrected(figures: pd.DataFrame) -> pd.DataFrame:
    """Add ``p_holm``, corrected for all tested gains of these rows."""
    if len(figures):
        tested = figures.index[figures["p_value"].notna()]
        figures["p_holm"] = np.nan
        figures.loc[tested, "p_holm"] = holm(figures.loc[tested, "p_value"].tolist())
    return figures


def _of_hospital(
    trials: HospitalTrials, hospital: str, positive: str, *, seed: int
) -> tuple[pd.DataFrame, dict[int, NDArray[np.float64]]]:
    """Return the figures of all entries at a hospital, or on the global test set; and their BACC in
    each draw (R,), by entry.
    """
    entries = trials.entries
    resampling = Resampling(
        trials.tests[hospital],
        len(trials.classes),
        positive=trials.classes.index(positive) if positive else None,
        seed=seed,  # of its own: a mean over hospitals takes their draws for independent
    )
    judged: dict[int, Judged] = {}
    for number, entry in enumerate(entries):
        keys = [(entry, hospital, seed) for seed in entry.trials]
        if found := {key[-1]: trials.answers[key] for key in keys if key in trials.answers}:
            judged[number] = resampling.judge(found)
    bases = [n for n in judged if _is_basis(entries[n], hospital)]
    others = {n: _other(trials, n, bases) for n in judged if n not in bases}
    compared = [(number, other) for number, other in others.items() if other is not None]
    gains = resampling.gains([(judged[number], judged[other]) for number, other in compared])
    gain_of = {number: gain for (number, _), gain in zip(compared, gains, strict=True)}
    rows = []
    for number, of in judged.items():
        entry = entries[number]
        row: dict[str, object] = {
            "entry": number,
            "loss": entry.loss,
            "method": entry.method,
            "model": entry.model,
            "hospital": hospital,
            "seeds": len(of.seeds),
        }
        for score in SCORES:
            row |= zip((score, *(f"{score}_{e}" for e in ENDS)), estimate(of, score), strict=True)
        row |= zip(GAIN, gain_of.get(number) or [np.nan] * len(GAIN), strict=True)
        # The ceiling is not a choice, so it is not tested.
        rows.append(row if entry.federated else row | {"p_value": np.nan})
    draws = {number: of.figures("bacc", of.seeds)[1:] for number, of in judged.items()}
    return pd.DataFrame(rows), draws


def _is_basis(entry: Entry, hospital: str) -> bool:
    """Return whether others are compared with an entry: nobody alone has a model for all images."""
    return entry.default if hospital == GLOBAL else entry.model == ALONE


def _other(trials: HospitalTrials, number: int, bases: Sequence[int]) -> int | None:
    """Return the one of some entries that another one is compared with.

    It has the same loss and, if there is such a one, the same optimizer; if there are several, the
    one with the highest BACC on the validation images.
    """
    entries = trials.entries
    alike = [n for n in bases if entries[n].loss == entries[number].loss]
    same = [n for n in alike if entries[n].optimizer == entries[number].optimizer]
    bacc = {n: trials.validated_bacc(entries[n]) for n in same or alike}
    return max(bacc, key=lambda n: np.nan_to_num(bacc[n], nan=-1.0), default=None)


def _about_tests(trials: HospitalTrials, hospital: str, positive: str) -> dict[str, object]:
    tests = list(trials.tests.get(hospital, {}).values())
    place = trials.classes.index(positive) if positive else -1

    def mean(counts: list[int]) -> float:
        return float(np.mean(counts)) if counts else 0.0

    return {
        "images": mean([len(test.ids) for test in tests]),
        "lesions": mean([len(set(test.units.tolist())) for test in tests]),
        "positives": mean([int((test.labels == place).sum()) for test in tests]),
        "unit": tests[0].unit if tests else "image",
        "rare": ", ".join(f"{name} {number}" for name, number in _rare(trials.classes, tests)),
    }


def _rare(classes: Sequence[str], tests: Sequence[HospitalImages]) -> Iterator[tuple[str, int]]:
    for place, name in enumerate(classes):
        units = {unit for test in tests for unit in test.units[test.labels == place].tolist()}
        if 0 < len(units) < RARE:
            yield name, len(units)
