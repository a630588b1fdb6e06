"""The arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigArgument = Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", show_default=False)]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("-c", metavar="KEY=VALUE", help="Set one key; overrides the file. Repeatable."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")]
