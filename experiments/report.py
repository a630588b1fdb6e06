"""A campaign's report: ``fedskin report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console
from operation.files import write_bytes

if TYPE_CHECKING:
    from experiments.reporting.findings import Findings

console = Console()


def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
) -> None:
    """Report the results of the campaign in DIR so far: figures, tables and a page.

    Writes DIR/report: index.html, one page for the browser that needs no network; figures as SVG
    and PNG; tables as Markdown, CSV and LaTeX. An earlier report there is replaced. The campaign
    may still be running. Neither images nor a GPU are needed.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin report runs/task2

    fedskin report runs/smoke && xdg-open runs/smoke/report/index.html
    """
    from experiments.reporting.findings import read_findings
    from training.data_description import SYNTHETIC

    findings = read_findings(folder)
    figures, tables = write_report(findings, folder / "report")
    if findings.synthetic:
        console.print(SYNTHETIC, style="bold red")
    lines = [f"{name}: set aside: {reason}" for name, reason in findings.set_aside.items()]
    lines.append(findings.progress)
    if not findings.records:
        lines.append("No trial has finished yet; the page says so")
    lines.append(
        f"Wrote {folder / 'report' / 'index.html'}, {figures} figures and {tables} tables beside it"
    )
    for line in lines:
        console.say(line)


def write_report(findings: Findings, folder: Path) -> tuple[int, int]:
    """Write the report's folder, file by file, the page last.

    Returns:
        How many figures and how many tables there are.
    """
    from experiments.reporting.counts import recall_tables, traffic_tables
    from experiments.reporting.figures import draw_all
    from experiments.reporting.page import page
    from experiments.reporting.tables import tables_of

    drawings = draw_all(findings)
    tables = [*tables_of(findings), *recall_tables(findings), *traffic_tables(findings)]
    content: dict[str, str | bytes] = {}
    for drawing in drawings:
        content[f"figures/{drawing.name}.svg"] = drawing.svg
        content[f"figures/{drawing.name}.png"] = drawing.png
    for table in tables:
        content[f"tables/{table.name}.md"] = table.markdown()
        content[f"tables/{table.name}.csv"] = table.csv()
        content[f"tables/{table.name}.tex"] = table.latex()
    content["index.html"] = page(findings, drawings, tables)
    for name, value in content.items():
        write_bytes(folder / name, value.encode() if isinstance(value, str) else value)
    for path in [*folder.glob("figures/[!.]*"), *folder.glob("tables/[!.]*")]:
        if path.relative_to(folder).as_posix() not in content:
            path.unlink()  # of an earlier report
    return len(drawings), len(tables)
