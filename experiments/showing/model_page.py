"""The page of a trained model."""

import re

from markdown_it import MarkdownIt
from markupsafe import Markup

from experiments.reporting.page_parts import part, render_page
from experiments.showing.shown_model import ShownModel

LARGEST_BYTES = 32 * 2**20
"""Of an uploaded file. Its pixels are bounded by `data_partition.decode.MAX_PIXELS`."""


def page(shown: ShownModel) -> str:
    """Return the HTML."""
    model = shown.model
    return render_page(
        "show.html",
        name=shown.name,
        which=shown.which,
        synthetic_line=model.synthetic,
        model=model,
        largest=LARGEST_BYTES,
        figures=shown.figures,
        card=None if shown.card is None else _as_html(shown.card),
        js=part("show.js"),
        show_css=part("show.css"),
    )


def _as_html(markdown: str) -> Markup:
    """Return Markdown as HTML; HTML in it becomes text, and no address a link or an image."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["image", "link", "autolink", "reference"])
    # The page has headings of its own above.
    lines = [f"##{line}" if line.startswith("#") else line for line in markdown.splitlines()]
    # The page's policy allows no style within an element.
    return Markup(
        re.sub(r' style="text-align:\w+"', ' class="number"', parser.render("\n".join(lines)))
    )
