"""Printing to a terminal what may hold text from outside: names, reasons, versions, paths.

Every command prints through the `Console` of this file, which is rich's but lets no control
character through and takes no text for markup, so that text from outside can neither move the
cursor nor change what is shown of it. Only what goes through `marked` is markup, and text from
outside is put into it by `shown`.
"""

from collections.abc import Iterable
from typing import Any

import typer
from rich import console as rich
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from operation.text import printable

# A reason may quote a path and a remedy; it is never as long as a log.
_MAX_LENGTH = 2000


class Console(rich.Console):
    """rich's console, without markup and emoji codes: in a fingerprint `:CD:` would be one.

    Args:
        options: of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, markup=False, **options)

    def render(
        self, renderable: rich.RenderableType, options: rich.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as rich does; a control character in text becomes a space."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                lines = segment.text.split("\n")
                text = "\n".join(printable(line, max(1, len(line))) for line in lines)
                yield Segment(text, segment.style)


def echo(line: str) -> None:
    """Print a line as it is, however wide; a control character becomes a space."""
    typer.echo(printable(line, max(1, len(line))))


def marked(markup: str) -> Text:
    """Return text of our own with rich's markup in it, to print."""
    return Text.from_markup(markup, emoji=False)


def shown(text: object) -> str:
    """Return text from outside as it may stand in `marked` text: on one line, without a style."""
    return escape(printable(str(text), _MAX_LENGTH))
