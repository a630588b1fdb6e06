"""What the figures by hospital say, in plain words."""

from collections.abc import Iterator

import pandas as pd

from experiments.reporting.hospital_trials import ALONE, OWN, POOLED, SHARED
from experiments.reporting.hospitals import Hospitals
from experiments.reporting.statistics import ALPHA
from experiments.results import megabytes

MODEL_WORDS = {
    ALONE: "alone",
    SHARED: "federated, global",
    OWN: "federated, personal",
    POOLED: "pooled",
}


def signed(value: float, digits: int = 1) -> str:
    """Return a difference with its sign; none for what rounds to 0."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[1:]


def p_words(p_value: float) -> str:
    """Return a p-value with two digits that count."""
    return "p < 0.0001" if p_value < 1e-4 else f"p = {p_value:.2g}"


def headline(hospitals: Hospitals) -> str:
    """Return how many hospitals gain with the best federated setting; empty if that is unknown."""
    best = hospitals.best()
    if best is None or (gains := hospitals.of(best)["gain"].dropna()).empty:
        return ""
    entry, rows = hospitals.entry(best), hospitals.of(best).loc[gains.index]
    sure = int(((rows["p_holm"] < ALPHA) & (gains > 0)).sum())
    whose = "personal models" if entry.model == OWN else "the global model"
    return (
        f"{(gains > 0).sum()} of {len(rows)} hospitals gain over being alone with {entry.method} "
        f"({whose}) and loss {entry.loss}, {sure or 'none'} of them significantly."
    )


def hospital_lines(hospitals: Hospitals) -> Iterator[str]:
    """Yield for each hospital what it gains with the setting of the headline, the most first."""
    best = hospitals.best()
    if best is None:
        return
    rows = hospitals.of(best)
    loss = hospitals.entry(best).loss
    for hospital, row in rows.sort_values("gain", ascending=False, na_position="last").iterrows():
        yield f"{hospital}: {_of_hospital(row)}{_better_alone(hospitals, str(hospital), loss, row)}"


def _of_hospital(row: pd.Series) -> str:
    if pd.isna(row["gain"]):
        return f"BACC {row['bacc']:.1f}; not compared, as no trial of it alone is done"
    verb = "loses" if row["gain"] < 0 else "gains"
    points = f"{verb} {abs(row['gain']):.1f} points of BACC"
    interval = f"(95 %: {signed(row['gain_low'])} to {signed(row['gain_high'])})"
    alone = f"from {row['before']:.1f} to {row['before'] + row['gain']:.1f}"
    sure = "significant" if row["p_holm"] < ALPHA else "not significant"
    return f"{points} {interval}, {alone}; {sure}, {p_words(row['p_holm'])}"


def _better_alone(hospitals: Hospitals, hospital: str, loss: str, row: pd.Series) -> str:
    """Return a hospital's best result alone, if another loss makes it better than that of a row."""
    figures = hospitals.figures
    alone = figures[(figures["model"] == ALONE) & (figures["hospital"] == hospital)]
    alone = alone[alone["loss"] != loss].sort_values("bacc")
    if alone.empty or alone.iloc[-1]["bacc"] <= row["bacc"]:
        return ""
    other = alone.iloc[-1]
    return f"; but alone with loss {other['loss']} it has {other['bacc']:.1f}"


def further_lines(hospitals: Hospitals) -> Iterator[str]:
    """Yield what the setting of the headline costs, what the ceiling is, and how it was chosen."""
    best = hospitals.best()
    if best is None:
        return
    methods = hospitals.methods
    ours = methods[methods["entry"] == best].iloc[0]
    yield (
        f"Worst hospital: {ours['worst_hospital']}, BACC {ours['worst']:.1f}; the best is "
        f"{ours['spread']:.1f} points above it."
    )
    alike = methods[methods["loss"] == ours["loss"]]
    for _, pooled in alike[alike["model"] == POOLED].iterrows():
        apart = ours["mean"] - pooled["mean"]
        yield (
            f"Mean over the hospitals: {ours['mean']:.1f}, {abs(apart):.1f} points "
            f"{_better(apart)} than training on everybody's images in one place "
            f"({pooled['mean']:.1f})."
        )
    alone = methods[methods["model"] == ALONE]
    if len(alone):
        strongest = alone.sort_values("mean").iloc[-1]
        apart = ours["mean"] - strongest["mean"]
        yield (
            f"Alone, hospitals do best with loss {strongest['loss']}: {strongest['mean']:.1f} on "
            f"average; the federation is {abs(apart):.1f} points {_better(apart)}."
        )
    yield f"Cost of a trial: {_cost(ours)}{_beside_alone(alike)}."
    number = sum(hospitals.entry(n).federated for n in methods["entry"])
    if number > 1:
        yield (
            f"It is the best of {number} federated settings by these same test figures, which "
            f"flatters it; p-values are corrected for all {hospitals.num_tests} gains (Holm)."
        )


def _better(apart: float) -> str:
    return "better" if apart > 0 else "worse"


def _cost(row: pd.Series) -> str:
    return (
        f"{megabytes(row['bytes_sent'])} MB sent, {megabytes(row['bytes_received'])} MB received, "
        f"{row['seconds']:,.0f} s in rounds"
    )


def _beside_alone(alike: pd.DataFrame) -> str:
    alone = alike.loc[alike["model"] == ALONE, "seconds"]
    return f" (alone {alone.min():,.0f} s)" if len(alone) else ""
