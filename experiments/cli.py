"""The command line: ``fedskin``."""

import sys
from collections.abc import Callable
from importlib import metadata
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from data_partition.errors import DataError
from experiments import (
    backbones_command,
    campaign,
    centralized_clip,
    coordinator,
    data_commands,
    deployed,
    federated,
    ml_heads,
    prediction,
    report,
    score,
    site,
    text_features_commands,
)
from models.errors import HeadError, WeightsError
from operation.errors import OperationError
from training.errors import ConfigError, RunFolderError, TrainingError

MENDABLE = (
    ConfigError,
    DataError,
    HeadError,
    OperationError,
    RunFolderError,
    TrainingError,
    WeightsError,
)

app = typer.Typer(
    name="fedskin",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app, name="data")
app.add_typer(campaign.app, name="campaign")
app.add_typer(text_features_commands.app, name="text-features")
app.add_typer(site.app, name="site")
app.add_typer(coordinator.app, name="coordinator")
app.command("simulate")(federated.simulate_command)
app.command("run")(deployed.run_command)
app.command("clip")(centralized_clip.clip_command)
app.command("heads")(ml_heads.heads_command)
app.command("predict")(prediction.predict_command)
app.command("score")(score.score_command)
app.command("report")(report.report_command)
app.command("backbones")(backbones_command.backbones_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(metadata.version("fedskin"))
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Federated classification of skin lesions and brain scans, with Flower.

    Research software: not a medical device, and not for diagnosis.
    """


def main() -> None:
    """Run the command line."""
    run(app)


def run(command: Callable[[], object]) -> None:
    """Run a command; what a person can mend is a line each and exit status 2."""
    try:
        command()
    except MENDABLE as error:
        _complain(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}; choose another place or make room")
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(text: str) -> NoReturn:
    for line in text.splitlines():
        Console(stderr=True, soft_wrap=True, emoji=False).print(
            f"[bold red]fedskin:[/] {_plain(line)}", highlight=False
        )
    sys.exit(2)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
