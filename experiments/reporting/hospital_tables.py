"""The tables of figures by hospital."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.figures_table import NONE, megabytes
from experiments.reporting.comparisons import slug
from experiments.reporting.hospital_answers import GLOBAL
from experiments.reporting.hospital_draws import SPECIFICITY
from experiments.reporting.hospital_resampling import RESAMPLES
from experiments.reporting.hospital_trials import ALONE, FEDERATED, OWN, POOLED, SHARED
from experiments.reporting.hospitals import ENDS, FEW, GAIN, RARE, Hospitals
from experiments.reporting.statistics import ALPHA
from experiments.reporting.tables import Table, is_best, p_text, rounded, signed, signed_range
from strategies.methods import DEFAULT, METHODS
from training.scores import SCORES

_MODEL_WORDS = {
    ALONE: "alone",
    SHARED: "federated, global",
    OWN: "federated, personal",
    POOLED: "pooled",
}
_DIGITS = 6  # of numbers in CSV files: sums of another order would differ in later ones


def hospital_tables(hospitals: Hospitals) -> list[Table]:
    """Return all tables; none if no predictions could be read."""
    if not hospitals.trials.entries:
        return []
    tables = [_summary(hospitals), _methods(hospitals)]
    for loss in hospitals.trials.losses:
        for what in tables_of_loss(hospitals):
            make = _gains if what == "gain" else _by_hospital
            tables.append(make(hospitals, loss, what))
    return [*tables, _global(hospitals)] if len(hospitals.global_figures) else tables


def tables_of_loss(hospitals: Hospitals) -> list[str]:
    """Return what the tables of a loss are of, as `name_of` takes it, in order."""
    return ["bacc", "gain", "auroc", *(["sensitivity"] if hospitals.positive else []), "ece"]


def name_of(hospitals: Hospitals, what: str, loss: str = "") -> str:
    """Return the name of a table's files."""
    return "-".join(part for part in (hospitals.trials.name, what, slug(loss)) if part)


def _names(methods: pd.DataFrame) -> pd.DataFrame:
    models = methods["model"].map(_MODEL_WORDS)
    return pd.DataFrame({"method": methods["method"], "model": models}).assign(
        seeds=methods["seeds"].astype(str)
    )


def _by_hospital(hospitals: Hospitals, loss: str, score: str) -> Table:
    """Return a table of one score; its best value at each hospital is bold."""
    title = {
        "bacc": "BACC, percent",
        "auroc": "AUROC, percent",
        "sensitivity": f"Sensitivity of {hospitals.positive} at {SPECIFICITY:.0%} specificity, "
        "percent",
        "ece": "ECE, percent; the lowest is best",
    }[score]
    methods = hospitals.methods[hospitals.methods["loss"] == loss]
    cells, best = _names(methods), {}
    tests = hospitals.tests.loc[hospitals.trials.hospitals]
    counted = tests["positives" if score == "sensitivity" else "images"]
    few = {at: n for at, n in counted.items() if score == "sensitivity" and n < FEW}
    for hospital, number in counted.items():
        name = f"{hospital} (n = {number:,.0f})"
        if hospital in few:
            cells[name] = NONE
            continue
        found = [hospitals.at(entry, str(hospital)) for entry in methods.index]
        deviation = score == "ece"
        cells[name] = [
            NONE if row is None else _interval(row, score, deviation=deviation) for row in found
        ]
        values = [None if row is None else row[score] for row in found]
        lowest = not SCORES[score].higher_is_better
        best[name] = is_best(pd.Series(values, methods.index, dtype=float), 1, lowest=lowest)
    if score == "bacc":
        for name in ("mean", "worst"):
            cells[name] = [rounded(value, 1) for value in methods[name]]
            best[name] = is_best(methods[name], 1)
        cells["best − worst"] = [rounded(value, 1) for value in methods["spread"]]
    units = f"{_unit(hospitals)}s"
    notes = [f"In brackets the 95 % interval over {units} ({RESAMPLES:,} draws)."]
    if score == "ece":
        notes = ["± the standard deviation over the seeds. Draws would make the error larger."]
    of_what = f"of {hospitals.positive} " if score == "sensitivity" else ""
    notes.append(f"n: test images {of_what}of a hospital, the mean over the seeds.")
    said = "; ".join(f"{hospital}: {rare}" for hospital, rare in tests["rare"].items() if rare)
    if score == "bacc" and said:
        notes.append(
            f"Not in the intervals is how unsure the classes with fewer than {RARE} {units} over "
            f"all seeds are ({said})."
        )
    if few:
        said = ", ".join(f"{hospital} {number:.1f}" for hospital, number in few.items())
        notes.append(
            f"Too few images of {hospitals.positive} in the test images of a seed (fewer than "
            f"{FEW} on average): {said}."
        )
    numbers = hospitals.figures[hospitals.figures["loss"] == loss]
    columns = [score, *(f"{score}_{end}" for end in ENDS)]
    numbers = numbers[["loss", "method", "model", "hospital", "seeds", *columns]]
    return _table(hospitals, score, loss, f"{title} · loss {loss}", numbers, cells, best, notes)


def _unit(hospitals: Hospitals) -> str:
    return str(hospitals.tests["unit"].iloc[0])


def _interval(row: pd.Series, score: str, *, deviation: bool = False) -> str:
    """Return a figure with its interval, and with its standard deviation over the seeds."""
    if pd.isna(row[score]):
        return NONE
    sd = f" ± {row[f'{score}_sd']:.1f}" if deviation and pd.notna(row[f"{score}_sd"]) else ""
    low, high = row[f"{score}_low"], row[f"{score}_high"]
    return f"{row[score]:.1f}{sd}" + ("" if pd.isna(low) else f" ({low:.1f}–{high:.1f})")


def _gains(hospitals: Hospitals, loss: str, what: str) -> Table:
    """Return the gains over training alone; those that are significant are bold."""
    methods = hospitals.methods
    methods = methods[(methods["loss"] == loss) & (methods["model"] != ALONE)]
    cells, best = _names(methods), {}
    for hospital in hospitals.trials.hospitals:
        found = [hospitals.at(entry, hospital) for entry in methods.index]
        cells[hospital] = [NONE if row is None else _gain(row) for row in found]
        best[hospital] = [row is not None and row["p_holm"] < ALPHA for row in found]
    cells["mean"] = [signed(gain, 1) for gain in methods["gain"]]
    cells["hospitals"] = [how_many(row) for _, row in methods.iterrows()]
    unit = _unit(hospitals)
    note = (
        f"In brackets the 95 % interval and p by exchanging the two models' answers {unit} by "
        f"{unit}; only p is corrected, for {hospitals.num_tests} gains (Holm: all hospitals, "
        f"methods and losses). Bold: below {ALPHA}. Column hospitals: how many gain and how many "
        "lose, and how many of them significantly. Pooled training is the ceiling, which no "
        "hospital can choose, so it is not tested."
    )
    numbers = hospitals.figures
    numbers = numbers[(numbers["loss"] == loss) & (numbers["model"] != ALONE)]
    numbers = numbers[["loss", "method", "model", "hospital", "seeds", *GAIN, "p_holm"]]
    title = f"Gain in BACC over training alone, percentage points · loss {loss}"
    return _table(hospitals, what, loss, title, numbers, cells, best, [note])


def _gain(row: pd.Series) -> str:
    if pd.isna(row["gain"]):
        return NONE
    interval = signed_range(row["gain_low"], row["gain_high"], 1)
    p_value = "" if pd.isna(row["p_holm"]) else f", p {p_text(row['p_holm'])}"
    return f"{signed(row['gain'], 1)} ({interval}){p_value}"


def how_many(row: "pd.Series[Any]") -> str:
    """Return how many hospitals gain and lose with an entry of `Hospitals.methods`."""
    return (
        f"{row['gains']} gain ({row['sure_gains']} significant), "
        f"{row['losses']} lose ({row['sure_losses']} significant)"
    )


def _summary(hospitals: Hospitals) -> Table:
    """Return for each loss training alone, the best of each kind of model, and pooled."""
    methods, chosen = hospitals.methods, []
    for loss in hospitals.trials.losses:
        of_loss = methods[methods["loss"] == loss]
        chosen += of_loss.index[of_loss["model"] == ALONE].tolist()
        bests = [hospitals.best(loss, model) for model in FEDERATED]
        chosen += [best for best in bests if best is not None]
        chosen += of_loss.index[of_loss["model"] == POOLED].tolist()
    title = "Alone, the best federated of each kind, pooled: mean over the hospitals"
    note = "The best by mean BACC on the hospitals' own validation images, not by these figures."
    notes = [note, *_on_methods(hospitals)]
    return _table(hospitals, "summary", "", title, *_of_methods(methods.loc[chosen]), notes)


def _methods(hospitals: Hospitals) -> Table:
    title = "All methods: mean over the hospitals, worst hospital, spread, cost of a trial"
    notes = _on_methods(hospitals)
    return _table(hospitals, "methods", "", title, *_of_methods(hospitals.methods), notes)


def _on_methods(hospitals: Hospitals) -> list[str]:
    return [
        f"In brackets the 95 % interval over {_unit(hospitals)}s. To pooled: mean BACC minus that "
        f"of pooled training with the same loss. Significant: p below {ALPHA}, corrected.",
        "MB and seconds are of all rounds, not of the evaluation at the end. Seconds include the "
        "computing of features in a trial that is the first to need them. What a hospital alone "
        "would not send, and the images that pooling would, are not counted.",
    ]


def _of_methods(methods: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.Series]]:
    cells = pd.DataFrame({"loss": methods["loss"]}).join(_names(methods))
    cells["validation BACC"] = [rounded(value, 1) for value in methods["validated"]]
    cells["mean BACC"] = [
        NONE
        if pd.isna(row["mean"])
        else f"{row['mean']:.1f} ({row['mean_low']:.1f}–{row['mean_high']:.1f})"
        for _, row in methods.iterrows()
    ]
    cells["to pooled"] = [
        NONE
        if pd.isna(row["apart"])
        else f"{signed(row['apart'], 1)} ({signed_range(row['apart_low'], row['apart_high'], 1)})"
        for _, row in methods.iterrows()
    ]
    cells["mean AUROC"] = [rounded(value, 1) for value in methods["auroc"]]
    cells["worst hospital"] = [
        f"{value:.1f} ({name})" if name else NONE
        for value, name in zip(methods["worst"], methods["worst_hospital"], strict=True)
    ]
    cells["best − worst"] = [rounded(value, 1) for value in methods["spread"]]
    cells["mean gain"] = [signed(gain, 1) for gain in methods["gain"]]
    cells["hospitals"] = [
        NONE if pd.isna(row["gain"]) else how_many(row) for _, row in methods.iterrows()
    ]
    travels = methods["model"].isin(FEDERATED)
    cells["MB sent"] = methods["bytes_sent"].map(megabytes).where(travels, NONE)
    cells["MB received"] = methods["bytes_received"].map(megabytes).where(travels, NONE)
    cells["seconds"] = methods["seconds"].map("{:,.0f}".format)
    columns = {"mean BACC": "mean", "mean AUROC": "auroc", "worst hospital": "worst"}
    best = {head: is_best(methods[of], 1, within=methods["loss"]) for head, of in columns.items()}
    return methods, cells, best


def _global(hospitals: Hospitals) -> Table:
    """Return the figures on the global test set."""
    rows = hospitals.global_figures
    scores = {score: score.upper() for score in ("bacc", "acc", "auroc")}
    if hospitals.positive:
        scores["sensitivity"] = f"{hospitals.positive} at {SPECIFICITY:.0%} specificity"
    scores["ece"] = "ECE"
    cells, best = pd.DataFrame({"loss": rows["loss"]}).join(_names(rows)), {}
    for score, head in scores.items():
        cells[head] = [_interval(row, score, deviation=True) for _, row in rows.iterrows()]
        lowest = not SCORES[score].higher_is_better
        best[head] = is_best(rows[score], 1, lowest=lowest, within=rows["loss"])
    default = METHODS[DEFAULT].title
    cells[f"gain over {default}"] = [_gain(row) for _, row in rows.iterrows()]
    best[f"gain over {default}"] = rows["p_holm"] < ALPHA
    about = hospitals.tests.loc[GLOBAL]
    unit, tested = about["unit"], rows["p_value"].notna().sum()
    correction = (
        f"tested as by hospital; only p is corrected, for {tested} gains (Holm). Bold: below "
        f"{ALPHA}."
        if tested
        else "not tested, since no hospital can choose pooled training."
    )
    notes = [
        f"{about['images']:,.0f} images of {about['lesions']:,.0f} {unit}s. Mean ± standard "
        f"deviation over the seeds (n − 1); in brackets the 95 % interval over {unit}s, all seeds "
        "together. The global model; of personal models there is none for these images.",
        f"The gain is in BACC over {default} with the same loss on these images, {correction} "
        "Training alone makes no model for all, so none is compared with it here.",
    ]
    columns = [name for score in scores for name in (score, *(f"{score}_{end}" for end in ENDS))]
    numbers = rows[["loss", "method", "model", "seeds", *columns, *GAIN, "p_holm"]]
    title = "The global test set, percent"
    return _table(hospitals, "global", "", title, numbers, cells, best, notes)


def _table(
    hospitals: Hospitals,
    what: str,
    loss: str,
    title: str,
    numbers: pd.DataFrame,
    cells: pd.DataFrame,
    best: Mapping[str, Any],
    notes: Sequence[str],
) -> Table:
    trials, name = hospitals.trials, name_of(hospitals, what, loss)
    number = len(trials.not_complete)
    lacking = [f"Not complete: {number} of {len(trials.table)} trials."] if number else []
    title, notes = f"{title} · {trials.title}" if trials.title else title, [*notes, *lacking]
    return Table.of(name, title, trials.synthetic, numbers.round(_DIGITS), cells, best, notes)
