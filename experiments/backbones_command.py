"""The available networks, and the part of each that is trained and sent: ``fedskin backbones``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from experiments.console import Console
from models.part_sizes import PART_SIZES
from models.provider import BackboneSpec
from models.registry import BACKBONES, PROVIDERS, SMALLEST_IMAGE, find_backbone
from training.config import DEFAULTS

console = Console()

PARTS = ("head", "adapter", "lora")


def backbones_command(
    backbone: Annotated[
        str | None, typer.Argument(metavar="[BACKBONE]", show_default=False)
    ] = None,
    weights_dir: Annotated[
        Path | None,
        typer.Option(
            help="Look for pretrained weights in this folder.", show_default="the libraries' caches"
        ),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print what is sent as a table for a Markdown file.")
    ] = False,
) -> None:
    """List the backbones: size, images, pretrained weights, and how much is trained and sent.

    The first table shows which image sizes a backbone takes, whether its pretrained weights are on
    this machine (otherwise a run downloads them), and their licence.

    The second shows for each value of trainable: millions of trained parameters, megabytes sent in
    each direction per client and round as float32, and per cent of the whole network's. The
    networks are classifiers of HAM10000's seven classes; with objective clip the head is larger.
    Nothing is downloaded or computed.

    The last lines tell how every other model of timm and open_clip is named, and which installed
    packages have further ones. With BACKBONE, the
    facts about one of them are shown, which takes the seconds that its library needs to import.
    """
    if backbone is not None:
        console.print(_facts(_usable(backbone), weights_dir))
        return
    rows = [_row(name) for name in BACKBONES]
    if markdown:
        print(_markdown(rows))
    else:
        console.print(_overview(weights_dir))
        for number, licence in enumerate(_licences(), start=1):
            console.print(f"licence {number}: {licence}", highlight=False)
        console.print(_table(rows))
        for name in PROVIDERS.own:
            if usage := PROVIDERS[name].USAGE:
                console.print(f"also {usage}", highlight=False)
        for plugin in PROVIDERS.plugins():
            console.print(f"also {plugin.name}:…, of {plugin.owner}", highlight=False)


def _usable(name: str) -> BackboneSpec:
    """Return the facts about a backbone that takes images."""
    spec = find_backbone(name)
    if name not in BACKBONES:
        from models.backbones import check_images

        check_images(name, spec.fixed_image_size or int(DEFAULTS["image-size"]))
    return spec


def _facts(spec: BackboneSpec, weights_dir: Path | None) -> Table:
    file = PROVIDERS[spec.provider].find_weights(spec, weights_dir)
    facts = {
        "library": f"{spec.provider}, {spec.builder}",
        "pixels": str(spec.fixed_image_size or f"{SMALLEST_IMAGE} or more"),
        "mean": ", ".join(map(str, spec.mean)),
        "standard deviation": ", ".join(map(str, spec.std)),
        "features": str(spec.width),
        "MB": str(spec.megabytes),
        "LoRA": "yes" if spec.has_linear_layers else "no: no attention and no linear layers",
        "licence": spec.licence,
        "weights": str(file) if file else f"not here; {spec.weights or 'bring them in a folder'}",
    }
    table = Table(title=Text(spec.name), title_justify="left", box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(value))
    return table


def _overview(weights_dir: Path | None) -> Table:
    table = Table(title="Backbones", title_justify="left", box=None)
    table.padding = (0, 1, 0, 0)
    table.add_column("backbone", style="bold", no_wrap=True)
    table.add_column("pixels", no_wrap=True)
    table.add_column("weights", no_wrap=True)
    table.add_column("licence", justify="right")
    for name, spec in BACKBONES.items():
        pixels = str(spec.fixed_image_size or f"{SMALLEST_IMAGE} or more")
        there = PROVIDERS[spec.provider].find_weights(spec, weights_dir)
        found = "here" if there else "not here"
        table.add_row(name, pixels, found, str(_licences().index(spec.licence) + 1))
    return table


def _licences() -> list[str]:
    """Return each licence of weights once, in the order of the backbones."""
    return list(dict.fromkeys(spec.licence for spec in BACKBONES.values()))


def _row(name: str) -> list[str]:
    sizes = PART_SIZES[name]
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
    table.title_justify = "left"
    for row in rows:
        table.add_row(*row)
    return table


def _markdown(rows: list[list[str]]) -> str:
    headings = ["backbone", "whole, millions", "MB"]
    headings += [f"`{part}`{unit}" for part in PARTS for unit in (", millions", ", MB", ", %")]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    lines += [[f"`{row[0]}`", *row[1:]] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
