"""The report's tables, each as Markdown, CSV and LaTeX."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from experiments.figures_table import NONE, OVER
from experiments.reporting.comparisons import WORDS, Comparison, slug
from experiments.reporting.findings import Findings
from experiments.reporting.published import beside_ours
from experiments.reporting.statistics import Ranking, summary
from training.data_description import SYNTHETIC
from training.metrics import METRIC_NAMES
from training.scores import SCORES, Score, further_scores

_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "·": r"$\cdot$",
    }
)


@dataclass(frozen=True)
class Table:
    """One table."""

    name: str  # the files', without suffix
    title: str
    synthetic: bool  # whether it must be marked SYNTHETIC
    numbers: pd.DataFrame  # the content of the CSV file
    cells: pd.DataFrame  # the same, formatted as text
    best: pd.DataFrame  # whether each cell is the best of its column; of the same shape
    notes: tuple[str, ...] = ()  # sentences that explain it

    def csv(self) -> str:
        """Return the numbers with all digits, and for each row whether it is synthetic."""
        return self.numbers.assign(synthetic=self.synthetic).to_csv(index=False)

    def markdown(self) -> str:
        """Return a heading and a table; the best are bold."""
        cells = self._marked(lambda text: text.replace("_", r"\_"), "**{}**")
        lines = [f"## {self.title}", "", *([f"**{SYNTHETIC}.**", ""] if self.synthetic else [])]
        table = cells.to_markdown(index=False, disable_numparse=True)
        notes = [line for note in self.notes for line in ("", note.replace("_", r"\_"))]
        return "\n".join([*lines, table, *notes, ""])

    def latex(self) -> str:
        """Return a floating table for the package booktabs; the best are bold."""
        synthetic = (f"{SYNTHETIC}.",) if self.synthetic else ()
        caption = " ".join((f"{self.title}.", *synthetic, *self.notes))
        escaped = self._marked(lambda text: text.translate(_LATEX), r"\textbf{{{}}}")
        return escaped.style.hide(axis="index").to_latex(
            hrules=True,
            caption=caption.translate(_LATEX),
            label=f"tab:{self.name}",
            position_float="centering",
            column_format="l" * len(escaped.columns),
        )

    def _marked(self, escape: Callable[[str], str], bold: str) -> pd.DataFrame:
        texts = self.cells.map(escape)
        marked = texts.where(~self.best, texts.map(bold.format))
        return marked.rename(columns=escape)


def tables_of(findings: Findings) -> list[Table]:
    """Return the tables of figures and ranks, and the comparison with the study."""
    judged = [comparison for comparison in findings.chapters if len(comparison.judged)]
    tables = [*map(comparison_table, judged), *map(scores_table, judged)]
    tables += [rank_table(ranking) for ranking in findings.rankings if ranking.test]
    published = published_table(findings)
    return tables if published is None else [*tables, published]


def comparison_table(comparison: Comparison) -> Table:
    """Return mean, standard deviation and rank of each backbone, and of each of its heads."""
    rows = summary(comparison.judged)
    cells, best = _means(rows, {name: SCORES[name] for name in METRIC_NAMES})
    cells.insert(list(cells).index("BACC") + 1, "over", rows["bacc_classes"].astype(str))
    cells["rank"] = rows["rank"].map("{:g}".format)
    notes = (f"Judged on {comparison.judged_on}.", f"{OVER}.")
    return table_of(comparison, "", "", rows, cells, best, notes)


def scores_table(comparison: Comparison) -> Table:
    """Return the same of the scores beside the study's six figures."""
    rows = summary(comparison.judged)
    further = further_scores(*comparison.rows["config.best-by"].unique())
    return table_of(comparison, "-scores", "Scores · ", rows, *_means(rows, further))


def table_of(
    comparison: Comparison,
    suffix: str,
    title: str,
    numbers: pd.DataFrame,
    cells: pd.DataFrame,
    best: pd.DataFrame,
    notes: tuple[str, ...] = (),
) -> Table:
    """Return a table of a comparison, whose last notes name the trials that are not complete.

    Args:
        suffix: of the files' name, after the comparison's.
        title: what the comparison's title is put after.
        numbers, cells, best: see `Table`; ``best`` may lack columns.
    """
    best = best.reindex(columns=cells.columns, fill_value=False)
    notes = (*notes, *not_complete(comparison.judged))
    name, titled = f"{comparison.name}{suffix}", f"{title}{comparison.title}"
    return Table(name, titled, comparison.synthetic, numbers, cells, best, notes)


def _means(rows: pd.DataFrame, scores: Mapping[str, Score]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells of a `summary`, with mean and deviation of some scores, and the best."""
    cells, best = row_names(rows), pd.DataFrame(index=rows.index)
    for name, score in scores.items():
        means = rows[name]
        deviations = [
            "" if pd.isna(sd) else f" ± {sd:.{score.digits}f}" for sd in rows[f"{name}_sd"]
        ]
        cells[name.upper()] = [
            NONE if pd.isna(mean) else f"{mean:.{score.digits}f}{sd}"
            for mean, sd in zip(means, deviations, strict=True)
        ]
        of_unit = rows.groupby("unit")[name]
        first = of_unit.transform("max" if score.higher_is_better else "min")
        equal = means.round(score.digits) == first.round(score.digits)
        best[name.upper()] = equal & (len(rows) > 1)
    return cells, best


def not_complete(rows: pd.DataFrame) -> list[str]:
    """Return a sentence for each trial among some rows that is not complete."""
    lacking = rows[~rows["complete"]].drop_duplicates("trial")
    return [
        f"Not complete: {trial}: {absences}."
        for trial, absences in zip(lacking["trial"], lacking["absences"], strict=True)
    ]


def seeds_cells(rows: pd.DataFrame) -> list[str]:
    """Return the number of seeds of each row, and how many of them are not complete."""
    return [
        f"{seeds} ({lacking} not complete)" if lacking else str(seeds)
        for seeds, lacking in zip(rows["seeds"], rows["not_complete"], strict=True)
    ]


def row_names(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that distinguish the rows, as text for users."""
    cells = pd.DataFrame({"backbone": rows["backbone"]})
    if rows["model"].nunique() > 1:
        cells["model"] = rows["model"].map(WORDS)
    if rows["unit"].nunique() > 1:
        cells["by"] = rows["unit"]
    cells["seeds"] = seeds_cells(rows)
    return cells


def rank_table(ranking: Ranking) -> Table:
    """Return the table of mean ranks of a test."""
    assert ranking.test is not None
    numbers = ranking.test.mean_ranks.rename_axis("backbone").rename("mean rank").reset_index()
    cells = numbers.assign(**{"mean rank": numbers["mean rank"].map("{:.2f}".format)})
    best = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    best["mean rank"] = numbers["mean rank"] == numbers["mean rank"].min()
    title = (
        f"{ranking.title}, {ranking.test.num_blocks} blocks, "
        f"critical difference {ranking.test.critical_difference:.2f}, "
        f"Friedman's p = {ranking.test.p_value:.2g}"
    )
    return Table(slug(ranking.title), title, ranking.synthetic, numbers, cells, best)


def published_table(findings: Findings) -> Table | None:
    """Return the figures of the study (docs/study.md) beside ours; None if none fits."""
    rows = [
        {
            "where": row.published.where,
            "setting": row.setting,
            "backbone": row.published.backbone,
            "figure": _figure(row.published.metric, row.published.model, row.published.gain),
            "published": row.published.percent,
            "ours": row.ours,
            "seeds": row.seeds,
            "difference": row.difference,
            "done otherwise": "; ".join(row.otherwise),
        }
        for row in beside_ours(findings.comparisons)
    ]
    if not rows:
        return None
    numbers = pd.DataFrame(rows).astype({"difference": float})
    gain = numbers["figure"].str.startswith("gain")
    cells = numbers.astype(str)
    cells["published"] = [
        f"about {value:+g}" if rough else f"{value:.2f}"
        for value, rough in zip(numbers["published"], gain, strict=True)
    ]
    cells["ours"] = [
        signed(value) if rough else f"{value:.2f}"
        for value, rough in zip(numbers["ours"], gain, strict=True)
    ]
    cells["difference"] = ["–" if pd.isna(v) else signed(v) for v in numbers["difference"]]
    best = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    title = "The study's figures and ours, in percent"
    beside = [c.rows for c in findings.comparisons if c.title in set(numbers["setting"])]
    notes = tuple(not_complete(pd.concat(beside)))
    return Table("published", title, findings.synthetic, numbers, cells, best, notes)


def signed(value: float) -> str:
    """Return a difference with its sign."""
    return f"{value:+.2f}".replace("-", "−")


def _figure(metric: str, model: str, gain: bool) -> str:
    return f"gain of {WORDS[model]} in {metric.upper()}" if gain else metric.upper()
