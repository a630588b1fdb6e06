"""The page of one run."""

from collections.abc import Sequence

from experiments.reporting.figures import Drawing
from experiments.reporting.page_parts import render_page
from experiments.reporting.run_results import RunResults
from experiments.reporting.tables import Table
from experiments.reporting.thumbnails import SHOWN, misjudged


def run_page(run: RunResults, drawings: Sequence[Drawing], tables: Sequence[Table]) -> str:
    """Return the HTML; a run that goes on has fewer figures and tables."""
    count, thumbnails = misjudged(run)
    return render_page(
        "run.html",
        name=run.name,
        synthetic_line=run.synthetic_line,
        run=run,
        drawings=drawings,
        tables=tables,
        count=count,
        thumbnails=thumbnails,
        shown=SHOWN,
    )
