"""Tables of figures: the metrics in percent, recall by class, and the clients' updates."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from data_partition.datasets import in_naming_order
from training.metrics import METRIC_NAMES, recall_by_class
from training.scores import as_text, further_scores

OVER = "over: how many classes occur; BACC is their mean recall"
NONE = "–"
BY_PATIENT = "  by patient"
AVERAGE = "  moving average"
OF_SHARED = ", shared model"
# As many scores fit into 80 columns.
_SCORES = 7


def new_table(title: str, first: str, columns: Iterable[str]) -> Table:
    """Return a table of numbers that fits 80 columns.

    Args:
        title: of the table; may have several lines.
        first: head of the column that names the rows.
    """
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=box.HORIZONTALS,
        padding=(0, 0),
        pad_edge=False,
    )
    table.add_column(first)
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    return table


def metric_columns() -> list[str]:
    """Return the column heads for `metric_cells`."""
    names = [name.upper() for name in METRIC_NAMES]
    names.insert(names.index("BACC") + 1, "over")
    return names


def metric_cells(block: Mapping[str, Any]) -> list[str]:
    """Return the figures of a metric block, and after BACC its number of classes."""
    cells = []
    for name in METRIC_NAMES:
        cells.append(as_text(name, block[name]))
        if name == "bacc":
            of = [total for _, total in recall_by_class(np.array(block["confusion"]))]
            cells.append(str(np.count_nonzero(of)))
    return cells


def scores_tables(
    blocks: Sequence[tuple[str, Mapping[str, Any]]], first: str, best_by: str
) -> list[Table]:
    """Return tables of the scores beside the study's six (docs/study.md), of some scores each.

    Args:
        blocks: each row's name and block; figures by patient, if known, follow below.
    """
    tables, further = [], tuple(further_scores(best_by))
    for start in range(0, len(further), _SCORES):
        part = further[start : start + _SCORES]
        table = new_table("Further scores", first, map(str.upper, part))
        for name, block in with_patients(blocks):
            table.add_row(Text(name), *(as_text(score, block.get(score)) for score in part))
        tables.append(table)
    return tables


def classes_table(block: Mapping[str, Any], classes: Sequence[str], of: str) -> Table:
    """Return a table of the scores that have a figure for each class.

    Args:
        classes: names of the classes, in the order of the block.
        of: names the test set.
    """
    table = new_table(f"By class, of the {of}", "class", map(str.upper, block["by_class"]))
    for name in in_naming_order(classes):
        figures = block["by_class"].items()
        cells = (as_text(score, values[classes.index(name)]) for score, values in figures)
        table.add_row(Text(name), *cells)
    return table


def recall_table(
    blocks: Sequence[tuple[str, Mapping[str, Any]]], classes: Sequence[str], first: str
) -> Table:
    """Return a table of the number of images of each class that were found, and the total.

    Args:
        classes: names of the classes, in the order of the confusion matrices.
    """
    order = in_naming_order(classes)
    table = new_table("Recall by class: found, of how many", first, order)
    for name, block in with_patients(blocks):
        # Under the official rules the last row and column count the undecided.
        counts = dict(zip(classes, recall_by_class(np.array(block["confusion"])), strict=False))
        cells = [f"{found}/{of}" if of else NONE for found, of in map(counts.__getitem__, order)]
        table.add_row(Text(name), *cells)
    return table


def with_patients(
    blocks: Iterable[tuple[str, Mapping[str, Any]]],
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the blocks, each followed by its block by patient, if there is one."""
    rows = []
    for name, block in blocks:
        rows.append((name, block))
        if "patients" in block:
            rows.append((BY_PATIENT, block["patients"]))
    return rows


_NOTE = (
    "norm: local minus global weights, over all floating-point arrays that travel;\n"
    "cosine: to the mean update, 1 where both point the same way. Medians over rounds."
)


def updates_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the clients' updates, a row for each client that ever answered.

    Args:
        rounds: as in ``rounds.jsonl``.
    """
    updates: dict[str, list[Mapping[str, Any]]] = {}
    for record in rounds:
        for client, said in record["clients"].items():
            updates.setdefault(client, []).append(said["update"])
    columns = ["rounds", "norm", "largest", "cosine", "clipped"]
    table = new_table("The clients' updates", "", columns)
    table.caption = _NOTE
    for client, said in updates.items():
        norms = [one["norm"] for one in said]
        cosines = [one["cosine"] for one in said if one["cosine"] is not None]
        table.add_row(
            Text(client),
            str(len(said)),
            three_digits(statistics.median(norms)),
            three_digits(max(norms)),
            f"{statistics.median(cosines):.2f}" if cosines else NONE,
            str(sum(one["clipped"] for one in said)),
        )
    return table


def three_digits(number: float) -> str:
    """Return a number with three digits, also where the last is 0."""
    return f"{number:#.3g}".rstrip(".")


def megabytes(number_of_bytes: float) -> str:
    """Return a number of bytes in units of 10⁶, to two decimals or, below 1, three digits."""
    number = number_of_bytes / 1e6
    return f"{number:,.2f}" if number >= 1 else three_digits(number)


def update_warnings(rounds: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Return a line for each update that was much larger than the others."""
    return [
        Text(f"Round {record['round']}: {warning}", "bold yellow")
        for record in rounds
        for warning in record["warnings"]
    ]
