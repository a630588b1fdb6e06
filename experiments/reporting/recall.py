"""Recall by class as a table: the number of images found, and the total."""

import pandas as pd

from data_partition.class_names import in_naming_order
from experiments.reporting.comparisons import Comparison
from experiments.reporting.findings import Findings
from experiments.reporting.statistics import KEYS, in_table_order
from experiments.reporting.tables import Table, not_complete, row_names

SUPPORT = "support."


def recall_tables(findings: Findings) -> list[Table]:
    """Return the table of every comparison that has figures."""
    return [comparison_recall_table(c) for c in findings.comparisons if len(c.judged)]


def comparison_recall_table(comparison: Comparison) -> Table:
    """Return the found and total images of each class, summed over the seeds."""
    rows = comparison.judged
    classes = classes_of(rows)
    counts = rows[KEYS].assign(complete=rows["complete"])
    for name in classes:
        counts[f"found.{name}"], counts[f"support.{name}"] = found_of(rows, name)
    groups = counts.groupby(KEYS)
    columns = [f"{what}.{name}" for name in classes for what in ("found", "support")]
    sums = groups[columns].sum().astype(int)
    sums.insert(0, "seeds", groups.size())
    sums.insert(1, "not_complete", groups["complete"].agg(lambda complete: (~complete).sum()))
    numbers = in_table_order(sums, rows)
    cells, best = row_names(numbers), pd.DataFrame(index=numbers.index)
    for name in classes:
        found, of = numbers[f"found.{name}"], numbers[f"support.{name}"]
        cells[name] = [f"{a}/{b}" if b else "–" for a, b in zip(found, of, strict=True)]
        share = found / of.where(of > 0)
        highest = share.groupby(numbers["unit"]).transform("max")
        best[name] = (share == highest) & (len(numbers) > 1)
    return Table(
        name=f"{comparison.name}-recall",
        title=f"Recall by class: found, of how many · {comparison.title}",
        synthetic=comparison.synthetic,
        numbers=numbers,
        cells=cells,
        best=best.reindex(columns=cells.columns, fill_value=False),
        notes=tuple(not_complete(rows)),
    )


def classes_of(rows: pd.DataFrame) -> list[str]:
    """Return the classes that have images in any row of a ledger, in the order of tables."""
    supports = [column for column in rows if str(column).startswith(SUPPORT) and rows[column].any()]
    return in_naming_order(str(column).removeprefix(SUPPORT) for column in supports)


def found_of(rows: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    """Return for each row of a ledger the found and total images of a class; integers."""
    of = rows[f"support.{name}"].fillna(0)
    found = (rows[f"recall.{name}"].fillna(0) / 100 * of).round()
    return found.astype(int), of.astype(int)
