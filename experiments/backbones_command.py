"""The available networks, and the part of each that is trained and sent: ``fedskin backbones``."""

from typing import Annotated

import typer
from rich.table import Table

from data_partition.image_table import HAM10000_CLASSES
from experiments.console import Console
from models.registry import BACKBONES

console = Console()

PARTS = ("head", "adapter", "lora")


def backbones_command(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a table for a Markdown file.")
    ] = False,
) -> None:
    """List the backbones: how large each is, and how much of it is trained and sent.

    For each value of trainable: millions of trained parameters, megabytes that a client and a round
    take in each direction as float32, and per cent of the whole network's. The networks are
    classifiers of HAM10000's seven classes; under objective clip the head is larger. Nothing is
    downloaded and nothing computed.
    """
    with Console(stderr=True).status("Counting"):
        rows = [_row(name) for name in BACKBONES]
    if markdown:
        print(_markdown(rows))
    else:
        console.print(_table(rows))


def _row(name: str) -> list[str]:
    # Imported here: torch takes seconds.
    from models.sizes import part_sizes

    sizes = part_sizes(name, len(HAM10000_CLASSES))
    whole = sizes["all"].num_bytes
    row = [name, f"{sizes['all'].parameters / 1e6:.1f}", f"{whole / 1e6:.0f}"]
    for part in PARTS:
        size = sizes.get(part)
        if size is None:
            row += ["–", "–", "–"]
        else:
            percent = f"{100 * size.num_bytes / whole:.2f}"
            row += [f"{size.parameters / 1e6:.3f}", f"{size.num_bytes / 1e6:.2f}", percent]
    return row


def _table(rows: list[list[str]]) -> Table:
    table = Table(title="Millions of parameters, megabytes sent, per cent of the whole", box=None)
    table.add_column("backbone", style="bold", no_wrap=True)
    for heading in ("whole", "MB", *(word for part in PARTS for word in (part, "MB", "%"))):
        table.add_column(heading, justify="right", no_wrap=True)
    table.padding = (0, 1, 0, 0)
    for row in rows:
        table.add_row(*row)
    return table


def _markdown(rows: list[list[str]]) -> str:
    headings = ["backbone", "whole, millions", "MB"]
    headings += [f"`{part}`{unit}" for part in PARTS for unit in (", millions", ", MB", ", %")]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    lines += [[f"`{row[0]}`", *row[1:]] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
