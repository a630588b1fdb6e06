"""The page of a campaign: its results as data, and the whole as HTML."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from data_partition.datasets import named_first
from experiments.campaigns.ledger import BY_CLASS
from experiments.figures_table import megabytes
from experiments.reporting.campaign_tables import classes_of, found_of
from experiments.reporting.comparisons import WORDS, slug
from experiments.reporting.findings import Findings
from experiments.reporting.hospital_chapter import hospital_chapter
from experiments.reporting.page_parts import part, render_page
from experiments.reporting.statistics import ALPHA
from experiments.reporting.style import Drawing
from experiments.reporting.tables import Table
from training.config import NOT_IDENTITY
from training.data_description import SYNTHETIC
from training.metrics import METRIC_NAMES
from training.scores import Score, scores_with

# Columns of a trial, besides its config.
_ABOUT = (
    *("command", "complete", "best_round", "rounds"),
    *("seconds", "seconds_transport", "seconds_waiting", "bytes_sent", "bytes_received"),
    *("peak_memory", "started", "finished", "host", "text_weights", "fingerprint"),
    *("test_fingerprint", "test_in_training", "weights_sha256", "fedskin_version"),
)
INTERVAL = "AVG, 95 %"
_TEST_SETS = {
    "global_test": "global",
    "left_out": "left out",
    "client_test": "clients', pooled",
    "ema_global_test": "global, moving average",
    "ema_left_out": "left out, moving average",
    "ema_client_test": "clients', pooled, moving average",
}
_INTERVALS = tuple(f"{name}_{end}" for name in METRIC_NAMES for end in ("low", "high"))


def page_data(findings: Findings) -> str:
    """Return the JSON, safe inside a script element.

    ``columns`` and ``rows`` are the results: a row for each trial, model and unit on the global
    test set, on the source left out and, pooled, on the clients'. The columns in ``settings`` are
    shown together in the column "setting" and can be filtered. ``recall`` names the column with the
    number of images found of the most important class, and their total. ``config`` holds the keys
    that are equal in all trials. Each of ``trials`` has its other keys, its figures on every test
    set, its curve and its counts.
    """
    table = findings.table
    configs = table.drop_duplicates("trial").set_index("trial").filter(regex=r"^config\.")
    configs.columns = configs.columns.str.removeprefix("config.")
    configs = configs.drop(columns=list(NOT_IDENTITY))
    common = [name for name in configs.columns if configs[name].nunique() == 1]
    own = configs.drop(columns=common).astype(object)
    settings, results = _results(findings)
    data = {
        "metrics": METRIC_NAMES,
        "scores": {
            name: {"digits": score.digits, "higher": score.higher_is_better}
            for name, score in _scores(table).items()
        },
        "recall": first_classes(findings),
        "words": WORDS,
        "settings": settings,
        "interval": INTERVAL,
        "columns": list(results.columns),
        "rows": results.astype(object).to_numpy().tolist(),
        "config": configs[common].iloc[:1].to_dict("records")[0] if len(configs) else {},
        "trials": {
            trial: _trial(findings, str(trial), own.loc[trial].to_dict(), rows)
            for trial, rows in table.groupby("trial")
        },
    }
    # In a script element only "<" could end it or begin a comment.
    text = json.dumps(_plain(data), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def _results(findings: Findings) -> tuple[list[str], pd.DataFrame]:
    """Return the names of the settings, and the table with a column for each of them."""
    comparisons = findings.comparisons
    towers = {c.settings.get("text tower") for c in comparisons if "text encoder" in c.settings}
    # A text tower that all trials have is named once above the table, not in each row.
    unsaid = ["text tower"] if len(towers) == 1 else []
    parts, first = [], first_classes(findings)
    for comparison in comparisons:
        rows = comparison.rows
        rows = rows[rows["test_set"].isin(list(_TEST_SETS))]
        part = pd.DataFrame({"trial": rows["trial"], "backbone": rows["config.backbone"]})
        part["setting"] = comparison.without(unsaid).title
        part["seed"], part["model"] = rows["config.seed"], rows["model"].map(WORDS)
        part["test set"] = rows["test_set"].map(_TEST_SETS)
        part["by"] = rows["unit"]
        figures = rows[[*_scores(rows), "avg_low", "avg_high"]].round(4).rename(columns=str.upper)
        part["AVG"] = figures.pop("AVG")
        bounds = zip(figures.pop("AVG_LOW"), figures.pop("AVG_HIGH"), strict=True)
        intervals = [None if math.isnan(low) else [low, high] for low, high in bounds]
        part[INTERVAL] = pd.Series(intervals, index=part.index, dtype=object)
        part[first] = _recall(rows)
        for name in figures:
            part[name] = figures[name]
            if name == "BACC":
                part["over"] = rows["bacc_classes"]
        part["complete"] = rows["complete"].map({True: "yes", False: "no"})
        part["n"], part["kind"] = rows["n"], comparison.kind
        parts.append(part.assign(**comparison.settings))
    settings = ["kind", *dict.fromkeys(name for c in comparisons for name in c.settings)]
    return settings, pd.concat(parts) if parts else pd.DataFrame()


def _scores(rows: pd.DataFrame) -> dict[str, Score]:
    return scores_with(*rows["config.best-by"].unique())


def first_classes(findings: Findings) -> str:
    """Return the name of the recall column: those of the first-named classes that occur."""
    return " / ".join(name for name in named_first() if findings.table[f"support.{name}"].any())


def _recall(rows: pd.DataFrame) -> pd.Series:
    """Return found and total images of the first-named class; None without images."""
    cells = pd.Series(None, index=rows.index, dtype=object)
    for name in named_first():
        for index, found, of in zip(rows.index, *found_of(rows, name), strict=True):
            if of:
                cells[index] = [found, of]
    return cells


def _trial(
    findings: Findings, trial: str, config: dict[Any, Any], rows: pd.DataFrame
) -> dict[str, Any]:
    record = findings.records[trial]
    classes = classes_of(rows)
    shown = ["test_set", "model", "unit", "n", *_scores(rows), *_INTERVALS]
    shown += ["bacc_classes", "clients_missing", "no_histograms"]
    shown += ["client_rounds", "client_rounds_asked"]
    shown += [f"{score}.{name}" for score in BY_CLASS for name in classes]
    counts = [list(zip(*found_of(rows, name), strict=True)) for name in classes]
    return {
        "about": _about(rows.iloc[0]),
        "absences": rows["absences"].iloc[0],
        "recall": {"classes": classes, "rows": list(zip(*counts, strict=True))},
        "by_class": BY_CLASS,
        "synthetic": rows["synthetic"].iloc[0],
        "config": config,
        "figures": rows[shown].round(4).to_dict("records"),
        "classes": record.classes,
        "confusions": record.confusions,
        "curve": {
            "round": record.curve.index.tolist(),
            **{name: values.round(5).tolist() for name, values in record.curve.items()},
        },
    }


def _about(row: pd.Series) -> dict[str, Any]:
    """Return the other facts of a trial's page, with readable sizes and times."""
    about = {name: row[name] for name in _ABOUT}
    about["complete"] = "yes" if row["complete"] else "no"
    for name, size in about.items():
        if ("bytes" in name or name == "peak_memory") and not math.isnan(size):
            about[name] = f"{megabytes(size)} MB"
        elif "seconds" in name and not math.isnan(size):
            about[name] = f"{size:,.1f} s"
    return about


def _plain(value: Any) -> Any:
    """Return a value as a JSON type; NaN, which JSON does not have, becomes None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # NumPy's numbers
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def page(findings: Findings, drawings: Sequence[Drawing], tables: Sequence[Table]) -> str:
    """Return the HTML.

    Args:
        findings: of the campaign; if no trial is finished, the page says so.
    """
    scores = _scores(findings.table)
    once = findings.table.drop_duplicates("trial").set_index("trial")
    return render_page(
        "campaign.html",
        name=findings.name,
        synthetic_line=SYNTHETIC if findings.synthetic else None,
        findings=findings,
        recall=first_classes(findings),
        lacking=once.loc[~once["complete"], "absences"].to_dict(),
        figures={
            about: [drawing for drawing in drawings if drawing.about == about]
            for about in dict.fromkeys(drawing.about for drawing in drawings)
        },
        tables={table.name: table for table in tables},
        hospitals=[hospital_chapter(found) for found in findings.hospitals],
        lowest=[name.upper() for name, score in scores.items() if not score.higher_is_better],
        not_percent=[name.upper() for name, score in scores.items() if not score.in_percent],
        alpha=ALPHA,
        slug=slug,
        js=part("page.js"),
        data=Markup(page_data(findings)),
    )
