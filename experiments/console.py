"""Prints text to a terminal, also text from outside: names, reasons, versions, paths.

Every command prints with this file's `Console`. It is rich's, but it removes control characters and
does not read text as markup, so text from outside can neither move the cursor nor change how it is
shown. Only text made by `marked` has markup; `shown` makes text from outside safe to put into it.

Where the reader of a pipe has gone (`fedskin compare ... | head`), a command goes on and writes its
files.
"""

import os
import sys
from collections.abc import Iterable
from typing import IO, Any

import typer
from rich import console as rich
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from operation.text import printable

# Long enough for a reason with a path and a remedy, but not for a log.
_MAX_LENGTH = 2000


class Console(rich.Console):
    """rich's console, without markup and emoji codes: in a fingerprint `:CD:` would be one.

    Args:
        options: of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, markup=False, **options)

    def say(self, line: str | Text, style: str | None = None) -> None:
        """Print a line that is neither wrapped nor highlighted."""
        self.print(line, style=style, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Print nothing more to a reader that has gone; the command still does all its work."""
        _discard(self.file)

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
    try:
        typer.echo(printable(line, max(1, len(line))))
    except BrokenPipeError:
        _discard(sys.stdout)


def _discard(file: IO[str]) -> None:
    """Send to nowhere what is written from now on, and what the file still holds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)


def marked(markup: str) -> Text:
    """Return our own text, with rich's markup, to print."""
    return Text.from_markup(markup, emoji=False)


def shown(text: object) -> str:
    """Return text from outside for use in `marked` text: on one line, without markup."""
    return escape(printable(str(text), _MAX_LENGTH))
