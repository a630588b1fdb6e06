"""The report as one HTML file that needs no other files and no network."""

import re
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from experiments.reporting.comparisons import slug
from experiments.reporting.figures import Drawing
from experiments.reporting.findings import Findings
from experiments.reporting.page_data import first_classes, page_data
from experiments.reporting.statistics import ALPHA
from experiments.reporting.tables import Table
from training.scores import FURTHER, SCORES
from training.synthetic_note import SYNTHETIC

# Matplotlib gives ids such as "axes_1"; in one page with several figures they would be repeated.
_NUMBERED = re.compile(r' id="[A-Za-z0-9]+(?:\.[a-z]+)?_\d+(?:_\d+)*"')


def page(findings: Findings, drawings: Sequence[Drawing], tables: Sequence[Table]) -> str:
    """Return the HTML.

    Args:
        findings: of the campaign; if no trial is finished, the page says so.
    """
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    source = files("experiments.reporting") / "page"
    template = environment.from_string((source / "page.html").read_text(encoding="utf-8"))
    once = findings.table.drop_duplicates("trial").set_index("trial")
    return template.render(
        findings=findings,
        recall=first_classes(findings),
        lacking=once.loc[~once["complete"], "absences"].to_dict(),
        figures={
            about: [(d.name, d.what, _inline(d)) for d in drawings if d.about == about]
            for about in dict.fromkeys(drawing.about for drawing in drawings)
        },
        tables={table.name: table for table in tables},
        lowest=[name.upper() for name in FURTHER if not SCORES[name].higher_is_better],
        not_percent=[name.upper() for name in FURTHER if not SCORES[name].in_percent],
        alpha=ALPHA,
        slug=slug,
        synthetic_line=SYNTHETIC,
        css=Markup((source / "page.css").read_text(encoding="utf-8")),
        js=Markup((source / "page.js").read_text(encoding="utf-8")),
        data=Markup(page_data(findings)),
    )


def _inline(drawing: Drawing) -> Markup:
    """Return an SVG as an element of the page."""
    element = drawing.svg[drawing.svg.index("<svg") :]
    return Markup(_NUMBERED.sub("", element))
