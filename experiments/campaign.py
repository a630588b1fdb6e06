"""Benchmark campaigns: ``fedskin campaign plan | run | status``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from experiments.config_command import ConfigCommand
from experiments.console import Console
from experiments.display import counting
from experiments.options import TRACKER
from operation.text import counted

app = typer.Typer(help="Run many trials from one file: a whole study.", no_args_is_help=True)
console = Console()

CampaignArgument = Annotated[Path, typer.Argument(metavar="CAMPAIGN.toml", show_default=False)]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("-c", metavar="KEY=VALUE", help="Set one key of every trial. Repeatable."),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="NAME=DIR", help="Where the data set of this name is. Repeatable."
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KEY=PATTERN",
        help="Only matching trials: backbone=swin_*. Repeatable; patterns of one key add up.",
    ),
]
Directory = Annotated[Path, typer.Argument(metavar="DIR", show_default=False)]


@app.command(cls=ConfigCommand)
def plan(
    campaign: CampaignArgument,
    override: OverrideOption = None,
    data: DataOption = None,
    only: OnlyOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The campaign's folder: plan what is not finished.", show_default=False),
    ] = None,
) -> None:
    """List the trials of CAMPAIGN.toml, the time and disk they need, and what is missing.

    Every config is checked. A few training steps of each backbone are measured on this machine,
    once; the times are cached. Nothing is downloaded and no trial is started. With --out, finished
    trials are left out, and the time that they took corrects the estimate of others of their kind.

    CAMPAIGN.toml is a file, or the name of a campaign that comes with fedskin: task1-clip.toml,
    task2-federated.toml, task3-heads.toml, communication.toml, benchmark-ham10000.toml,
    benchmark-isic2019.toml, smoke.toml.

    Examples
    --------

        fedskin campaign plan task2-federated.toml --data ham10000=/data/HAM10000
    """
    # Imported here and below, since --help needs none of it.
    from experiments.campaigns.campaign_file import read_campaign
    from experiments.campaigns.choice import (
        chosen_trials,
        data_folders,
        find_file,
        patterns_of,
        variants_of,
    )

    found = read_campaign(find_file(campaign), override or [], data_folders(data))
    patterns = patterns_of(only, found)
    wanted = found.asked(patterns)
    wanted = replace(wanted, trials=chosen_trials(wanted, patterns))
    # Imported here: torch takes seconds, too long to wait for an error in the file.
    from experiments.campaigns.campaign_folder import CampaignFolder
    from experiments.campaigns.forecast import forecast, seconds_taken
    from experiments.campaigns.plan_table import say_missing, show_plan
    from experiments.planning.missing import find_missing

    missing = find_missing(trial.config for trial in wanted.trials)
    say_missing(console, missing)  # and again after the table, which may take minutes and a screen
    took = {} if out is None else seconds_taken(wanted, CampaignFolder(out.absolute()))
    if len(took) == len(wanted.trials):
        console.say(f"All {counted(len(took), 'trial is', 'trials are')} finished in {out}")
        return
    with counting(console, "Measuring training steps") as progress:
        forecasts = forecast(wanted, progress, took)
    if took:
        console.say(
            f"{counted(len(took), 'trial is', 'trials are')} finished in {out}; of the others:"
        )
    show_plan(console, wanted.name, forecasts, missing, out or Path.cwd())
    if not only:
        for keys, count in variants_of(wanted).items():
            console.say(f"{counted(count, 'trial')} more with --only {keys}")


@app.command(cls=ConfigCommand)
def run(
    campaign: CampaignArgument,
    out: Annotated[Path, typer.Option(help="The campaign's folder.", show_default=False)],
    override: OverrideOption = None,
    data: DataOption = None,
    only: OnlyOption = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also run failed trials again.")
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Distribute the trials over this Ray cluster, such as auto."
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(click_type=TRACKER, help="Also send the finished trials there."),
    ] = None,
) -> None:
    """Run the trials of CAMPAIGN.toml that are not finished in a folder.

    As many run side by side as cores, memory and GPUs allow. After a crash, a kill or a reboot,
    run the same command again: finished trials stay, others continue from their last round.

    Examples
    --------

    The federated runs of the study (docs/study.md), on the real HAM10000:

        fedskin campaign run task2-federated.toml --data ham10000=/data/HAM10000 \\
          --out task2

    A part of it, also trying failed trials again:

        fedskin campaign run task2-federated.toml --data ham10000=/data/HAM10000 \\
          --out task2 --only 'backbone=swin_*' --retry-failed
    """
    from experiments.campaigns.campaign_file import read_campaign
    from experiments.campaigns.choice import chosen_trials, data_folders, find_file, patterns_of

    found = read_campaign(find_file(campaign), override or [], data_folders(data))
    patterns = patterns_of(only, found)
    wanted = found.asked(patterns)
    chosen_trials(wanted, patterns)  # refused here if there is none: reading the images takes time
    # Imported here: torch takes seconds, too long to wait for an error in the file.
    from experiments.campaign_run import carry_out

    carry_out(
        *(wanted, out, patterns),
        retry_failed=retry_failed,
        ray_address=ray_address,
        track=track,
    )


@app.command()
def status(directory: Directory) -> None:
    """Show the progress of the campaign in folder DIR, also while it runs.

    Examples
    --------

        fedskin campaign status task2
    """
    from experiments.campaigns.campaign_display import overview
    from experiments.campaigns.campaign_folder import CampaignFolder

    folder = CampaignFolder(directory.absolute())
    name, planned = folder.plan()
    states = folder.states(planned, at_work=folder.is_locked())
    console.print(overview(name, folder, planned, states))
