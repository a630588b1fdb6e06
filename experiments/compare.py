"""The comparison of runs on the same test images: ``fedskin compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console, echo
from operation.errors import InputError
from operation.text import counted

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
    clients: Annotated[
        bool,
        typer.Option(
            "--clients", help="On the clients' own test images, each by its client's model."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare finished runs A, B, … on the same test images, each with the first.

    Prints the difference of every score with its 95 % interval, a bootstrap over lesions or
    patients where the predictions name them; McNemar's exact test, with more than two runs
    corrected by Holm; and how many images of each class changed sides. RUN_DIR:knn is a head of a
    run.

    With --clients the test images are the clients' own, and each is classified by its client's
    model; a further table has every client's BACC. Only simulations have these answers.

    If A is a campaign's folder, the others are settings of its trials, such as strategy=fedavg, or
    several keys with commas between them; model=knn chooses a head. Trials that agree in all other
    keys are paired, and the differences are means over the pairs.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin compare runs/avg runs/prox --out avg-or-prox

    fedskin compare runs/local runs/avg runs/ditto --clients

    fedskin compare runs/heads runs/heads:knn runs/heads:svm

        fedskin compare task2 strategy=fedavg,optimizer=sgd \\
          strategy=fedprox,optimizer=sgd
    """
    # Imported here, since --help needs none of it.
    from experiments.reporting.compared_models import read_named
    from experiments.reporting.compared_settings import read_settings
    from experiments.reporting.paired import compare_sides

    if out is not None and out.is_dir() and any(out.iterdir()) and not (out / _FILE).is_file():
        raise InputError(f"--out {out}: holds other files; choose an empty folder")
    of_campaign = (Path(named[0]) / "trials").is_dir()
    sides = named[1:] if of_campaign else named
    if len(sides) < 2 or len(set(sides)) < len(sides):
        what = "settings, as in  DIR optimizer=sgd optimizer=adam" if of_campaign else "runs"
        raise InputError(f"compare {' '.join(named)}: name two or more different {what}")
    if of_campaign:
        comparison = compare_sides(*read_settings(Path(named[0]), sides, clients=clients))
    else:
        comparison = compare_sides({name: [read_named(name, clients=clients)] for name in sides})
    if as_json:
        for line in json.dumps(comparison.to_json(), indent=1, allow_nan=False).splitlines():
            echo(line)
    else:
        _print(comparison)
    if out is not None:
        figures, tables = _write(comparison, out)
        if not as_json:
            page = out / "index.html"
            console.say(
                f"Wrote {page}, {counted(figures, 'figure')} and "
                f"{counted(tables, 'table')} beside it"
            )


def _print(comparison: PairedComparison) -> None:
    from rich.text import Text

    from experiments.figures_table import new_table
    from experiments.reporting.paired_tables import paired_tables

    if comparison.synthetic_line:
        console.print(comparison.synthetic_line, style="bold red")
    for table in paired_tables(comparison):
        if table.name.startswith("changed"):
            continue  # as many lines as images
        # As many columns as fit a terminal.
        fits = {"classes": 4, "clients": 7}.get(table.name.partition("-")[0])
        cells = table.cells.iloc[:, :fits]
        first, *columns = cells.columns
        printed = new_table(table.title, first, columns)
        for row in cells.itertuples(index=False):
            printed.add_row(*map(Text, row))
        console.print(printed)
        for note in table.notes:  # not as its caption, which would break long names of runs
            console.say(note)
        console.print()
    for key, values in comparison.different_keys().items():
        sides = zip(comparison.sides, values, strict=True)
        said = ", ".join(f"{side.letter} {value or '–'}" for side, value in sides)
        console.say(f"Their configs differ in {key}: {said}")
    for note in comparison.notes:
        console.say(note)


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
