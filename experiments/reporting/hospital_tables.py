"""The tables of figures by hospital."""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from experiments.figures_table import NONE
from experiments.reporting.comparisons import slug
from experiments.reporting.hospital_draws import SPECIFICITY
from experiments.reporting.hospital_resampling import RESAMPLES
from experiments.reporting.hospital_trials import ALONE, GLOBAL, OWN, POOLED, SHARED
from experiments.reporting.hospital_words import MODEL_WORDS, signed
from experiments.reporting.hospitals import FEW, RARE, Hospitals
from experiments.reporting.statistics import ALPHA
from experiments.reporting.tables import Table
from experiments.results import megabytes
from strategies.methods import DEFAULT, METHODS

_GAIN = ["before", "gain", "gain_low", "gain_high", "p_value", "p_holm"]
_DIGITS = 6  # of numbers in CSV files: sums of another order would differ in later ones


def hospital_tables(hospitals: Hospitals) -> list[Table]:
    """Return all tables."""
    tables = [_summary(hospitals), _methods(hospitals)]
    for loss in hospitals.trials.losses:
        tables += _of_loss(hospitals, loss)
    return [*tables, _global(hospitals)] if len(hospitals.global_figures) else tables


def tables_of_loss(hospitals: Hospitals) -> list[str]:
    """Return what the tables of a loss are of, as `name_of` takes it, in order."""
    return ["bacc", "gain", "auroc", *(["sensitivity"] if hospitals.positive else []), "ece"]


def _of_loss(hospitals: Hospitals, loss: str) -> Iterator[Table]:
    """Yield the tables of a loss, a column for each hospital."""
    titles = {
        "bacc": "BACC, percent",
        "auroc": "AUROC, percent",
        "sensitivity": f"Sensitivity of {hospitals.positive} at {SPECIFICITY:.0%} specificity, "
        "percent",
        "ece": "ECE, percent; the lowest is best",
    }
    for what in tables_of_loss(hospitals):
        if what == "gain":
            yield _gains(hospitals, loss)
        else:
            yield _by_hospital(hospitals, loss, what, titles[what], _interval(what))


def name_of(hospitals: Hospitals, what: str, loss: str = "") -> str:
    """Return the name of a table's files."""
    return "-".join(part for part in (hospitals.trials.name, what, slug(loss)) if part)


def _interval(score: str) -> Callable[[pd.Series], str]:
    def cell(row: pd.Series) -> str:
        if pd.isna(row[score]):
            return NONE
        return f"{row[score]:.1f} ({row[f'{score}_low']:.1f}–{row[f'{score}_high']:.1f})"

    return cell


def _rows_of(hospitals: Hospitals, loss: str) -> pd.DataFrame:
    return hospitals.figures[hospitals.figures["loss"] == loss]


def _names(methods: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": methods["method"],
            "model": methods["model"].map(MODEL_WORDS),
            "seeds": methods["seeds"].astype(str),
        }
    )


def _by_hospital(
    hospitals: Hospitals, loss: str, score: str, what: str, cell: Callable[[pd.Series], str]
) -> Table:
    """Return a table of one score; its best value at each hospital is bold."""
    methods = hospitals.methods[hospitals.methods["loss"] == loss].reset_index(drop=True)
    cells, best = _names(methods), pd.DataFrame(index=methods.index)
    few = _few(hospitals) if score == "sensitivity" else {}
    for hospital in hospitals.trials.hospitals:
        name = _column(hospitals, hospital, positives=score == "sensitivity")
        if hospital in few:
            cells[name] = NONE
            continue
        found = [hospitals.at(number, hospital) for number in methods["entry"]]
        cells[name] = [NONE if row is None else cell(row) for row in found]
        values = pd.Series(
            [float("nan") if row is None else row[score] for row in found], dtype=float
        )
        first = values.min() if score == "ece" else values.max()
        best[name] = (values.round(1) == round(first, 1)) & (len(methods) > 1)
    if score == "bacc":
        cells["mean"] = methods["mean"].map(_one_digit)
        cells["worst"] = methods["worst"].map(_one_digit)
        cells["best − worst"] = methods["spread"].map(_one_digit)
        for name, values in (("mean", methods["mean"]), ("worst", methods["worst"])):
            best[name] = (values.round(1) == values.round(1).max()) & (len(methods) > 1)
    notes = [f"In brackets the 95 % interval over {_units(hospitals)} ({RESAMPLES:,} draws)."]
    rare = hospitals.tests.loc[hospitals.trials.hospitals, "rare"]
    if score == "bacc" and (said := "; ".join(f"{at}: {of}" for at, of in rare.items() if of)):
        notes.append(
            f"Not in the intervals is how unsure the classes with fewer than {RARE} "
            f"{_units(hospitals)} over all seeds are ({said})."
        )
    if few:
        said = ", ".join(f"{hospital} {number:.1f}" for hospital, number in few.items())
        notes.append(
            f"Too few images of {hospitals.positive} in the test images of a seed (fewer than "
            f"{FEW} on average): {said}."
        )
    numbers = _rows_of(hospitals, loss)
    columns = [score, f"{score}_low", f"{score}_high", f"{score}_sd"]
    numbers = numbers[["loss", "method", "model", "hospital", "seeds", *columns]]
    return _table(hospitals, score, loss, f"{what} · loss {loss}", numbers, cells, best, notes)


def _column(hospitals: Hospitals, hospital: str, *, positives: bool) -> str:
    about = hospitals.tests.loc[hospital]
    if positives:
        return f"{hospital} (n = {about['positives']:.0f})"
    return f"{hospital} (n = {about['images']:,.0f})"


def _few(hospitals: Hospitals) -> dict[str, float]:
    tests = hospitals.tests.loc[hospitals.trials.hospitals, "positives"]
    return {str(name): float(number) for name, number in tests.items() if number < FEW}


def _units(hospitals: Hospitals) -> str:
    return f"{hospitals.tests['unit'].iloc[0]}s"


def _one_digit(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:.1f}"


def _gains(hospitals: Hospitals, loss: str) -> Table:
    """Return the gains over being alone; those that are significant are bold."""
    methods = hospitals.methods
    methods = methods[(methods["loss"] == loss) & (methods["model"] != ALONE)]
    methods = methods.reset_index(drop=True)
    cells, best = _names(methods), pd.DataFrame(index=methods.index)
    for hospital in hospitals.trials.hospitals:
        found = [hospitals.at(number, hospital) for number in methods["entry"]]
        cells[hospital] = [NONE if row is None else _gain(row) for row in found]
        best[hospital] = [row is not None and bool(row["p_holm"] < ALPHA) for row in found]
    cells["mean"] = [NONE if pd.isna(gain) else signed(gain) for gain in methods["gain"]]
    cells["gain"] = [_how_many(row) for _, row in methods.iterrows()]
    notes = [
        f"In brackets the 95 % interval and p by exchanging the two models' answers "
        f"{_units(hospitals)[:-1]} by {_units(hospitals)[:-1]}; only p is corrected, for "
        f"{hospitals.num_tests} gains (Holm: all hospitals, methods and losses). Bold: below "
        f"{ALPHA}. Column gain: how many hospitals gain, and how many significantly. Pooled "
        "training is the ceiling, which no hospital can choose, so it is not tested."
    ]
    numbers = _rows_of(hospitals, loss)
    numbers = numbers[numbers["model"] != ALONE]
    numbers = numbers[["loss", "method", "model", "hospital", "seeds", *_GAIN]]
    title = f"Gain in BACC over being alone, percentage points · loss {loss}"
    return _table(hospitals, "gain", loss, title, numbers, cells, best, notes)


def _gain(row: pd.Series) -> str:
    if pd.isna(row["gain"]):
        return NONE
    interval = f"{signed(row['gain_low'])} to {signed(row['gain_high'])}"
    p_value = "" if pd.isna(row["p_holm"]) else f", p {_p(row['p_holm'])}"
    return f"{signed(row['gain'])} ({interval}){p_value}"


def _p(value: float) -> str:
    return "1" if value >= 0.995 else f"{value:.2g}"


def _how_many(row: pd.Series) -> str:
    said = f"{row['gains']} of {row['gains'] + row['losses']}"
    return f"{said} ({row['significant']})"


def _summary(hospitals: Hospitals) -> Table:
    """Return for each loss being alone, the best of each kind of model, and pooled."""
    numbers = []
    for loss in hospitals.trials.losses:
        methods = hospitals.methods[hospitals.methods["loss"] == loss]
        chosen = [
            *methods.loc[methods["model"] == ALONE, "entry"],
            *(n for model in (SHARED, OWN) if (n := hospitals.best(loss, [model])) is not None),
            *methods.loc[methods["model"] == POOLED, "entry"],
        ]
        numbers.append(methods.set_index("entry").loc[chosen].reset_index())
    table = pd.concat(numbers, ignore_index=True)
    title = "Alone, the best federated of each kind, pooled: mean over the hospitals"
    notes = [
        "The best by mean BACC over the hospitals' own test images, so chosen by these figures."
    ]
    return _table(hospitals, "summary", "", title, *_of_methods(table), notes)


def _methods(hospitals: Hospitals) -> Table:
    title = "All methods: mean over the hospitals, worst hospital, spread, cost of a trial"
    return _table(hospitals, "methods", "", title, *_of_methods(hospitals.methods), [])


def _of_methods(methods: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    cells = pd.DataFrame({"loss": methods["loss"]}).join(_names(methods))
    cells["mean BACC"] = methods["mean"].map(_one_digit)
    cells["mean AUROC"] = methods["auroc"].map(_one_digit)
    cells["worst hospital"] = [
        f"{value:.1f} ({name})" if name else NONE
        for value, name in zip(methods["worst"], methods["worst_hospital"], strict=True)
    ]
    cells["best − worst"] = methods["spread"].map(_one_digit)
    cells["mean gain"] = [NONE if pd.isna(gain) else signed(gain) for gain in methods["gain"]]
    cells["hospitals that gain"] = [
        NONE if pd.isna(row["gain"]) else _how_many(row) for _, row in methods.iterrows()
    ]
    cells["MB sent"] = methods["bytes_sent"].map(megabytes)
    cells["MB received"] = methods["bytes_received"].map(megabytes)
    cells["seconds"] = methods["seconds"].map("{:,.0f}".format)
    best = pd.DataFrame(index=methods.index)
    for column, name in (
        ("mean BACC", "mean"),
        ("mean AUROC", "auroc"),
        ("worst hospital", "worst"),
    ):
        first = methods.groupby("loss")[name].transform("max")
        best[column] = methods[name].round(1) == first.round(1)
    return methods.drop(columns="entry"), cells, best


def _global(hospitals: Hospitals) -> Table:
    """Return the figures on the global test set."""
    rows = hospitals.global_figures
    scores = ["bacc", "acc", "auroc", *(["sensitivity"] if hospitals.positive else []), "ece"]
    names = {"sensitivity": f"{hospitals.positive} at {SPECIFICITY:.0%} specificity"}
    cells = pd.DataFrame({"loss": rows["loss"]}).join(_names(rows))
    best = pd.DataFrame(index=rows.index)
    for score in scores:
        name = names.get(score, score.upper())
        cells[name] = [_with_deviation(row, score) for _, row in rows.iterrows()]
        first = rows.groupby("loss")[score].transform("min" if score == "ece" else "max")
        best[name] = (rows[score].round(1) == first.round(1)) & (len(rows) > 1)
    default = METHODS[DEFAULT].title
    cells[f"gain over {default}"] = [_gain(row) for _, row in rows.iterrows()]
    best[f"gain over {default}"] = rows["p_holm"] < ALPHA
    about = hospitals.tests.loc[GLOBAL]
    unit = about["unit"]
    notes = [
        f"{about['images']:,.0f} images of {about['lesions']:,.0f} {unit}s. Mean ± standard "
        f"deviation over the seeds (n − 1); in brackets the 95 % interval over {unit}s, all seeds "
        "together. The global model; of personal models there is none for these images.",
        f"The gain is in BACC over {default} with the same loss on these images, tested as by "
        f"hospital; only p is corrected, for {rows['p_value'].notna().sum()} gains (Holm). Bold: "
        f"below {ALPHA}. Being alone makes no model for all, so none is compared with it here.",
    ]
    columns = ["loss", "method", "model", "seeds"]
    columns += [f"{score}{end}" for score in scores for end in ("", "_low", "_high", "_sd")]
    columns += _GAIN
    title = "The global test set, percent"
    return _table(hospitals, "global", "", title, rows[columns], cells, best, notes)


def _with_deviation(row: pd.Series, score: str) -> str:
    if pd.isna(row[score]):
        return NONE
    deviation = "" if pd.isna(row[f"{score}_sd"]) else f" ± {row[f'{score}_sd']:.1f}"
    return f"{row[score]:.1f}{deviation} ({row[f'{score}_low']:.1f}–{row[f'{score}_high']:.1f})"


def _table(
    hospitals: Hospitals,
    what: str,
    loss: str,
    title: str,
    numbers: pd.DataFrame,
    cells: pd.DataFrame,
    best: pd.DataFrame,
    notes: Sequence[str],
) -> Table:
    trials = hospitals.trials
    number = len(trials.not_complete)
    lacking = [f"Not complete: {number} of {len(trials.table)} trials."] if number else []
    titled = f"{title} · {trials.title}" if trials.title else title
    return Table(
        name_of(hospitals, what, loss),
        titled,
        trials.synthetic,
        numbers.round(_DIGITS),
        cells,
        best.reindex(columns=cells.columns, fill_value=False).astype(bool),
        (*notes, *lacking),
    )
