"""The report's tables of prediction sets: by test set and hospital, and by class."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.calibration_text import GUARANTEE, calibration_lines
from experiments.figures_table import NONE
from experiments.reporting.run_results import RunResults
from experiments.reporting.tables import Table
from experiments.results import blocks_of

_KINDS = {"marginal": "", "by_class": ", by class"}


def set_tables(run: RunResults) -> list[Table]:
    """Return the tables; none if the run has no calibration."""
    blocks = [(name.strip(), block) for name, block in blocks_of(run.metrics) if "sets" in block]
    if not blocks:
        return []
    rows = {name: _flat(block["sets"], ("coverage", "size")) for name, block in blocks}
    notes = (
        *calibration_lines(run.metrics, run.classes),
        "Coverage: percentage of images whose set holds their class; size: mean number of classes "
        "in a set. Sets by class have a threshold for each class. " + GUARANTEE,
    )
    tables = [_table(run, "sets", "Prediction sets", "evaluated on", rows, notes)]
    for number, test_set in enumerate(run.test_sets, start=1):
        if "sets" in test_set.block:
            columns = _flat(test_set.block["sets"], ("coverage_by_class", "size_by_class"))
            places = {label: run.classes.index(label) for label in run.order}
            of_class = {
                label: {head: figures[place] for head, figures in columns.items()}
                for label, place in places.items()
            }
            title = f"Prediction sets by class · {test_set.name}"
            tables.append(_table(run, f"sets-{number}", title, "class", of_class, ()))
    return tables


def _flat(sets: Mapping[str, Mapping[str, Any]], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the figures of both kinds of sets by the heads of their columns."""
    return {
        f"{key.removesuffix('_by_class')}{said}": sets[kind][key]
        for kind, said in _KINDS.items()
        for key in keys
        if key in sets[kind]
    }


def _table(
    run: RunResults,
    name: str,
    title: str,
    first: str,
    rows: Mapping[str, Mapping[str, Any]],
    notes: tuple[str, ...],
) -> Table:
    numbers = pd.DataFrame([{first: label, **figures} for label, figures in rows.items()])
    cells = pd.DataFrame(
        [
            {first: label, **{key: _as_text(key, figure) for key, figure in figures.items()}}
            for label, figures in rows.items()
        ]
    )
    best = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    return Table(name, title, run.synthetic, numbers, cells, best, notes)


def _as_text(key: str, figure: float | None) -> str:
    if figure is None:
        return NONE
    return f"{figure:.1f}" if key.startswith("coverage") else f"{figure:.2f}"
