"""Pages that are one HTML file each, which needs no other files and no network."""

import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from experiments.reporting.style import Drawing

# Matplotlib gives ids such as "axes_1"; in one page with several figures they would be repeated.
_NUMBERED = re.compile(r' id="[A-Za-z0-9]+(?:\.[a-z]+)?_\d+(?:_\d+)*"')


def render_page(template: str, **values: Any) -> str:
    """Return a page as HTML.

    Args:
        template: a file of the folder ``page``, which extends ``layout.html``.
        values: for the template; among them ``name``, and ``synthetic_line``, what is said of
            synthetic images, or None.
    """
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(part),
    )
    environment.filters["inline"] = _inline
    return environment.get_template(template).render(css=part("page.css"), **values)


def part(name: str) -> Markup:
    """Return a file of the folder ``page``, as it is."""
    source = files("experiments.reporting") / "page" / name
    return Markup(source.read_text(encoding="utf-8"))


def _inline(drawing: Drawing) -> Markup:
    """Return an SVG as an element of the page."""
    element = drawing.svg[drawing.svg.index("<svg") :]
    return Markup(_NUMBERED.sub("", element))
