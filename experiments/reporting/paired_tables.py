"""The tables of a paired comparison, for files and page."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from data_partition.datasets import in_naming_order
from experiments.figures_table import NONE
from experiments.reporting.paired import (
    BETTER,
    WORSE,
    PairedComparison,
    Side,
    changes_by_class,
)
from experiments.reporting.tables import Table
from training.score_differences import Difference
from training.scores import ALL_SCORES, as_text

# As many changed images are on the page; the CSV file has all.
SHOWN = 200


def paired_tables(comparison: PairedComparison) -> list[Table]:
    """Return the tables: of each further side its differences, then the tests and the images."""
    tables = []
    for number, side in enumerate(comparison.others, start=1):
        tables.append(_scores(comparison, number, side))
        tables.append(_classes(comparison, number, side))
    tables.append(_tests(comparison))
    tables += [
        _changed(comparison, number, side) for number, side in enumerate(comparison.others, start=1)
    ]
    return tables


def score_names(comparison: PairedComparison) -> list[str]:
    """Return the names of the scores, without those of single classes."""
    return [name for name in comparison.scores.scores[0] if name in ALL_SCORES]


def difference_cells(name: str, found: Difference | None) -> list[str]:
    """Return a difference with its sign, and its interval."""
    if found is None:
        return [NONE, NONE]
    if found.low is None or found.high is None:
        return [_signed(name, found.value), NONE]
    return [
        _signed(name, found.value),
        f"{_signed(name, found.low)} to {_signed(name, found.high)}",
    ]


def _signed(name: str, value: float) -> str:
    digits = ALL_SCORES[name.partition(".")[0]].digits
    return f"{value:+.{digits}f}".replace("-", "−")


def _scores(comparison: PairedComparison, number: int, side: Side) -> Table:
    first, theirs = comparison.scores.scores[0], comparison.scores.scores[number]
    numbers, cells = [], []
    for name in score_names(comparison):
        found = comparison.scores.differences[number - 1][name]
        numbers.append(_numbers({"score": name}, first[name], theirs[name], found))
        label = name.upper() if ALL_SCORES[name].higher_is_better else f"{name.upper()} (low: best)"
        both = [as_text(name, first[name]), as_text(name, theirs[name])]
        cells.append([label, *both, *difference_cells(name, found)])
    columns = ["score", comparison.first.letter, side.letter, "difference", "95 %"]
    titles = f"{comparison.first.title}.", f"{side.title}."
    notes: tuple[str, ...] = (*titles, f"{comparison.about}.")
    if len(comparison.pairs) > 1:
        notes += (f"Means over {len(comparison.pairs)} pairs; McNemar's test names them.",)
    title = f"{side.letter} minus {comparison.first.letter}"
    return _table(comparison, f"differences-{number}", title, numbers, columns, cells, notes)


def _numbers(
    about: dict[str, Any], first: float | None, second: float | None, found: Difference | None
) -> dict[str, Any]:
    return {
        **about,
        "first": first,
        "second": second,
        "difference": found and found.value,
        "low": found and found.low,
        "high": found and found.high,
    }


def _classes(comparison: PairedComparison, number: int, side: Side) -> Table:
    """Return for each class how many images changed, and the differences of its own figures."""
    scores = comparison.scores
    of_classes = [n for n in score_names(comparison) if ALL_SCORES[n].by_class]
    changes = {label: counts for label, *counts in changes_by_class(comparison, side)}
    images = comparison.images["label"].value_counts()
    numbers, cells = [], []
    for label in in_naming_order(comparison.classes):
        row = [label, str(images.get(label, 0)), *map(str, changes[label])]
        for score in of_classes:
            name = f"{score}.{label}"
            found = scores.differences[number - 1][name]
            about = {"class": label, "score": score}
            numbers.append(
                _numbers(about, scores.scores[0][name], scores.scores[number][name], found)
            )
            value, interval = difference_cells(name, found)
            row.append(value if interval == NONE else f"{value} ({interval})")
        cells.append(row)
    columns = ["class", "images", WORSE, BETTER, *(name.upper() for name in of_classes)]
    title = f"By class: {side.letter} minus {comparison.first.letter}"
    return _table(comparison, f"classes-{number}", title, numbers, columns, cells)


def _tests(comparison: PairedComparison) -> Table:
    several = len(comparison.pairs) > 1
    cells = []
    for test in comparison.tests:
        row = [test.side, *([test.pair] if several else [])]
        row += [str(test.only_first), str(test.only_second), p_text(test.p_value)]
        cells.append([*row, *([p_text(test.p_holm)] if len(comparison.tests) > 1 else [])])
    columns = [
        *("side", *(["pair"] if several else [])),
        *(f"only {comparison.first.letter} right", "only the side right", "p"),
    ]
    notes: tuple[str, ...] = ("Exact and two-sided; it takes images as independent.",)
    if len(comparison.tests) > 1:
        columns.append("p, Holm")
        notes += ("Holm: corrected for the number of tests; intervals are not.",)
    numbers = [vars(test) for test in comparison.tests]
    title = f"McNemar's test against {comparison.first.letter}"
    return _table(comparison, "mcnemar", title, numbers, columns, cells, notes)


def p_text(p_value: float) -> str:
    """Return a p-value with two digits that count."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def _changed(comparison: PairedComparison, number: int, side: Side) -> Table:
    several = len(comparison.pairs) > 1
    changed = comparison.changed[comparison.changed["side"] == side.letter]
    order = {label: rank for rank, label in enumerate(in_naming_order(comparison.classes))}
    keys = changed.assign(rank=changed["label"].map(order))
    changed = changed.loc[keys.sort_values(["change", "rank", "image_id", "pair"]).index]
    columns = ["image", *(["pair"] if several else []), "is"]
    columns += [comparison.first.letter, side.letter]
    numbers = changed.to_dict("records")
    cells = []
    for row in numbers[:SHOWN]:
        before, after = (
            f"{row[which]} ({100 * row[f'{which}_probability']:.0f} %)"
            for which in ("first", "second")
        )
        pair = [str(row["pair"])] if several else []
        cells.append(
            [str(row["image_id"]), *pair, str(row["label"]), before, after, str(row["change"])]
        )
    notes: tuple[str, ...] = ("In brackets the probability of the true class.",)
    if len(numbers) > SHOWN:
        notes += (f"The first {SHOWN} of {len(numbers):,}; the CSV file has all.",)
    title = f"Images that changed sides from {comparison.first.letter} to {side.letter}"
    columns.append("change")
    return _table(comparison, f"changed-{number}", title, numbers, columns, cells, notes)


def _table(
    comparison: PairedComparison,
    name: str,
    title: str,
    numbers: Sequence[Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: tuple[str, ...] = (),
) -> Table:
    cells = pd.DataFrame(rows, columns=list(columns), dtype=str)
    best = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    synthetic = comparison.synthetic_line is not None
    return Table(name, title, synthetic, pd.DataFrame(numbers), cells, best, notes)
