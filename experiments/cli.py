"""The command line: ``fedskin``."""

from importlib import metadata
from typing import Annotated

import typer
from click import Context, HelpFormatter
from typer.core import TyperGroup

from experiments import (
    backbones_command,
    campaign,
    centralized_clip,
    compare,
    coordinator,
    data_commands,
    deployed,
    export,
    federated,
    ml_heads,
    prediction,
    report,
    runs,
    score,
    show,
    site,
    text_features_commands,
)
from experiments.command_runner import run_command_line
from experiments.config_command import ConfigCommand
from operation.plugins import all_plugins


class WithPlugIns(TyperGroup):
    """Names the installed plug-ins in the help; only this asks for them."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help."""
        whats: dict[str, list[str]] = {}
        for plugin in all_plugins():
            whats.setdefault(plugin.owner, []).append(plugin.what)
        lines = [f"{owner}: {', '.join(found)}" for owner, found in whats.items()]
        self.epilog = "\n\n".join(["Installed plug-ins:", *lines]) if lines else None
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="fedskin",
    cls=WithPlugIns,
    suggest_commands=False,  # click does, too
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for name, group in (
    ("data", data_commands.app),
    ("campaign", campaign.app),
    ("text-features", text_features_commands.app),
    ("site", site.app),
    ("coordinator", coordinator.app),
):
    group.suggest_commands = False  # as above
    app.add_typer(group, name=name)
app.command("simulate", cls=ConfigCommand)(federated.simulate_command)
app.command("run", cls=ConfigCommand)(deployed.run_command)
app.command("clip", cls=ConfigCommand)(centralized_clip.clip_command)
app.command("heads", cls=ConfigCommand)(ml_heads.heads_command)
app.command("predict")(prediction.predict_command)
app.command("show")(show.show_command)
app.command("export")(export.export_command)
app.command("score")(score.score_command)
app.command("report")(report.report_command)
app.command("compare")(compare.compare_command)
app.command("runs")(runs.runs_command)
app.command("backbones")(backbones_command.backbones_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(metadata.version("fedskin"))
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Federated classification of skin lesions and brain scans, with Flower.

    Research software: not a medical device, and not for diagnosis.
    """


def main() -> None:
    """Run the command line."""
    run_command_line(app)


if __name__ == "__main__":
    main()
