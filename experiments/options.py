"""The arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Any, Literal

import click
import typer

from data_partition.datasets import DATASETS
from operation.text import known_names
from training.errors import ConfigError


class DatasetName(click.ParamType):
    """The name of a data set; an unknown one is refused before anything is read."""

    name = "NAME"

    def get_metavar(self, *_: object, **__: object) -> str:
        """Return the names, for the help: only this asks which packages are installed."""
        return " | ".join(DATASETS)

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        """Return a known name unchanged; empty stands for none."""
        if value and value not in DATASETS:
            self.fail(f"no such data set; {known_names(value, DATASETS)}", param, ctx)
        return value


TRACKER = click.Choice(["mlflow", "tensorboard"])

ConfigArgument = Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", show_default=False)]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("-c", metavar="KEY=VALUE", help="Set one key; overrides the file. Repeatable."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")]
PlanOption = Annotated[
    bool,
    typer.Option(
        "--plan", help="Show what the run will need and how long it takes; train nothing."
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        metavar="0,1,2",
        help="Run once with each of these seeds; --out is then a campaign's folder.",
        show_default=False,
    ),
]
TrackOption = Annotated[
    str | None,
    typer.Option(
        click_type=TRACKER,
        help="Also send every round and the figures there, while the run goes on.",
        show_default=False,
    ),
]
HeadOption = Annotated[
    Literal["knn", "svm", "rf"] | None,
    typer.Option(help="Use a head of fedskin heads instead of the network's own."),
]
WeightsOption = Annotated[
    Literal["best", "last", "ema"],
    typer.Option(help="Which of the run's models; ema: the moving average of key ema-decay."),
]
DatasetOption = Annotated[
    str,
    typer.Option(
        click_type=DatasetName(),
        help="What the folder of images holds.",
        show_default="looks at the files",
    ),
]


def refuse_with_plan(**given: object) -> None:
    """Refuse options that ``--plan`` does not go with.

    Args:
        given: the options' values by name; those that are not set are None or False.

    Raises:
        ConfigError: one is set.
    """
    for name, value in given.items():
        if value:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"--plan: is for one new run on this machine; leave out {option}")


def run_folder_option(kind: str) -> Any:
    """Return the option of a command for its run folder, which is named after ``kind``."""
    return typer.Option(help="The run folder.", show_default=f"runs/<date>-{kind}-<backbone>")
