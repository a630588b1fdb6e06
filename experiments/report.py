"""The report of a campaign or of a run: ``fedskin report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console
from operation.files import write_bytes
from operation.text import counted

if TYPE_CHECKING:
    from experiments.reporting.findings import Findings
    from experiments.reporting.style import Drawing
    from experiments.reporting.tables import Table

console = Console()


def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
) -> None:
    """Report the results so far of the campaign or the run in DIR: figures, tables and a page.

    Writes DIR/report: index.html, one page for the browser that needs no network; figures as SVG
    and PNG; tables as Markdown, CSV and LaTeX. An earlier report there is replaced. The campaign or
    run may still be going on. No GPU is needed, and images only for the pictures of those that
    a run misjudged.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin report runs/task2

    fedskin report runs/demo && xdg-open runs/demo/report/index.html
    """
    if (folder / "config.toml").is_file():
        _report_run(folder)
    else:
        _report_campaign(folder)


def _report_run(folder: Path) -> None:
    from experiments.reporting.page_parts import render_page
    from experiments.reporting.run_figures import run_drawings
    from experiments.reporting.run_results import read_run_results
    from experiments.reporting.run_tables import run_tables
    from experiments.reporting.thumbnails import SHOWN, misjudged
    from experiments.run_faults import faults_told

    run = read_run_results(folder)
    with faults_told(folder):
        drawings, tables = run_drawings(run), run_tables(run)
        count, thumbnails = misjudged(run)
        page = render_page(
            "run.html",
            name=run.name,
            synthetic_line=run.synthetic_line,
            run=run,
            drawings=drawings,
            tables=tables,
            count=count,
            misjudged=counted(
                count,
                "image of the global test set is misjudged",
                "images of the global test set are misjudged",
            ),
            thumbnails=thumbnails,
            shown=SHOWN,
        )
    write_page(folder / "report", drawings, tables, page)
    if run.synthetic_line:
        console.print(run.synthetic_line, style="bold red")
    console.say(run.state)
    _wrote(folder / "report", len(drawings), len(tables))


def _report_campaign(folder: Path) -> None:
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
    for line in lines:
        console.say(line)
    _wrote(folder / "report", figures, tables)


def _wrote(folder: Path, figures: int, tables: int) -> None:
    page = folder / "index.html"
    console.say(
        f"Wrote {page}, {counted(figures, 'figure')} and {counted(tables, 'table')} beside it"
    )


def write_report(findings: Findings, folder: Path) -> tuple[int, int]:
    """Write the folder of a campaign's report, file by file, the page last.

    Returns:
        How many figures and how many tables there are.
    """
    from experiments.reporting.campaign_tables import campaign_tables
    from experiments.reporting.contrast_tables import contrast_tables
    from experiments.reporting.figures import draw_all
    from experiments.reporting.hospital_figure import hospital_drawings
    from experiments.reporting.hospital_tables import hospital_tables
    from experiments.reporting.page import page

    drawings = [d for found in findings.hospitals for d in hospital_drawings(found)]
    drawings += draw_all(findings)
    tables = [table for found in findings.hospitals for table in hospital_tables(found)]
    tables += campaign_tables(findings)
    tables += [table for contrast in findings.contrasts for table in contrast_tables(contrast)]
    write_page(folder, drawings, tables, page(findings, drawings, tables))
    return len(drawings), len(tables)


def write_page(
    folder: Path, drawings: Sequence[Drawing], tables: Sequence[Table], page: str
) -> None:
    """Write figures, tables and the page into a folder of ours; an earlier one's are removed."""
    content: dict[str, str | bytes] = {}
    for drawing in drawings:
        content[f"figures/{drawing.name}.svg"] = drawing.svg
        content[f"figures/{drawing.name}.png"] = drawing.png
    for table in tables:
        content[f"tables/{table.name}.md"] = table.markdown()
        content[f"tables/{table.name}.csv"] = table.csv()
        content[f"tables/{table.name}.tex"] = table.latex()
    content["index.html"] = page
    for name, value in content.items():
        write_bytes(folder / name, value.encode() if isinstance(value, str) else value)
    for path in [*folder.glob("figures/[!.]*"), *folder.glob("tables/[!.]*")]:
        if path.relative_to(folder).as_posix() not in content:
            path.unlink()  # of an earlier report
