"""The comparison of runs on the same test images: ``fedskin compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console, echo
from operation.errors import InputError

if TYPE_CHECKING:
    from experiments.reporting.paired import PairedComparison

console = Console()

# Of a comparison's folder; it tells an earlier comparison from other files.
_FILE = "comparison.json"


def compare_command(
    named: Annotated[list[str], typer.Argument(metavar="A B ...", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page, figures and tables to DIR.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare finished runs A, B, … on the same test images, each with the first.

    Prints the difference of every score with its 95 % interval, a bootstrap over lesions or
    patients where the predictions name them; McNemar's exact test, with more than two runs
    corrected by Holm; and how many images of each class changed sides. RUN_DIR:knn is a head of a
    run.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin compare runs/avg runs/prox --out avg-or-prox

    fedskin compare runs/heads runs/heads:knn runs/heads:svm
    """
    # Imported here, since --help needs none of it.
    from experiments.reporting.compared_models import read_named
    from experiments.reporting.paired import compare_sides

    if out is not None and out.is_dir() and any(out.iterdir()) and not (out / _FILE).is_file():
        raise InputError(f"--out {out}: holds other files; choose an empty folder")
    repeated = sorted({name for name in named if named.count(name) > 1})
    if len(named) < 2 or repeated:
        wrong = f"{repeated[0]} is named twice" if repeated else f"{named[0]} is one run only"
        raise InputError(f"compare: {wrong}; name two different runs at least")
    comparison = compare_sides({name: [read_named(name)] for name in named})
    if as_json:
        for line in json.dumps(comparison.to_json(), indent=1, allow_nan=False).splitlines():
            echo(line)
    else:
        _print(comparison)
    if out is not None:
        figures, tables = _write(comparison, out)
        if not as_json:
            page = out / "index.html"
            console.say(f"Wrote {page}, {figures} figures and {tables} tables beside it")


def _print(comparison: PairedComparison) -> None:
    from rich.text import Text

    from experiments.figures_table import new_table
    from experiments.reporting.paired_tables import paired_tables

    if comparison.synthetic_line:
        console.print(comparison.synthetic_line, style="bold red")
    for table in paired_tables(comparison):
        if table.name.startswith("changed"):
            continue  # as many lines as images
        # Of the classes only the numbers of images fit a terminal.
        cells = table.cells.iloc[:, :4] if table.name.startswith("classes") else table.cells
        first, *columns = cells.columns
        printed = new_table(table.title, first, columns)
        printed.caption = "\n".join(table.notes)
        for row in cells.itertuples(index=False):
            printed.add_row(*map(Text, row))
        console.print(printed)
        console.print()


def _write(comparison: PairedComparison, out: Path) -> tuple[int, int]:
    """Write the folder; return how many figures and how many tables there are."""
    from experiments.report import write_page
    from experiments.reporting.page_parts import render_page
    from experiments.reporting.paired_figures import paired_drawings
    from experiments.reporting.paired_tables import paired_tables
    from operation.files import write_json

    drawings, tables = paired_drawings(comparison), paired_tables(comparison)
    page = render_page(
        "compare.html",
        name=", ".join(side.name for side in comparison.sides),
        synthetic_line=comparison.synthetic_line,
        comparison=comparison,
        drawings=drawings,
        tables=tables,
        keys=comparison.different_keys(),
    )
    write_json(out / _FILE, comparison.to_json())
    write_page(out, drawings, tables, page)
    return len(drawings), len(tables)
