"""Benchmark campaigns: ``fedskin campaign plan | run | status``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console, marked, shown
from experiments.display import counting
from experiments.options import TRACKER
from training.errors import ConfigError

if TYPE_CHECKING:
    from experiments.campaigns.campaign_file import Campaign
    from experiments.campaigns.campaign_folder import CampaignFolder, Planned
    from experiments.campaigns.ledger import Ledger
    from experiments.campaigns.trial import Trial
    from training.experiment_data import DataFacts

    Trials = Mapping[str, tuple[Trial, DataFacts]]

app = typer.Typer(help="Run many trials from one file: a whole study.", no_args_is_help=True)
console = Console()

# The ledger is derived from the run folders, so it may lag behind while the campaign runs.
_LEDGER_SECONDS = 60.0

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
        "--only", metavar="KEY=PATTERN", help="Only matching trials: backbone=swin_*. Repeatable."
    ),
]
Directory = Annotated[Path, typer.Argument(metavar="DIR", show_default=False)]


@app.command()
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
        data_folders,
        find_file,
        is_chosen,
        patterns_of,
        variants_of,
    )

    found = read_campaign(find_file(campaign), override or [], data_folders(data))
    patterns = patterns_of(only, found)
    wanted = found.asked(patterns)
    chosen = [trial for trial in wanted.trials if is_chosen(trial, patterns)]
    if not chosen:
        raise ConfigError(f"--only: no trial of {wanted.name} matches")
    wanted = replace(wanted, trials=tuple(chosen))
    # Imported here: torch takes seconds, too long to wait for an error in the file.
    from experiments.campaigns.campaign_folder import CampaignFolder
    from experiments.campaigns.forecast import forecast, seconds_taken
    from experiments.campaigns.plan_table import show_plan
    from experiments.planning.missing import find_missing

    missing = find_missing(trial.config for trial in wanted.trials)
    took = {} if out is None else seconds_taken(wanted, CampaignFolder(out.absolute()))
    if len(took) == len(wanted.trials):
        console.say(f"All {len(took)} trials are finished in {out}")
        return
    with counting(console, "Measuring training steps") as progress:
        forecasts = forecast(wanted, progress, took)
    if took:
        console.say(f"{len(took)} trials are finished in {out}; of the others:")
    show_plan(console, wanted.name, forecasts, missing, out or Path.cwd())
    if not only:
        for keys, count in variants_of(wanted).items():
            console.say(f"{count} trials more with --only {keys}")


@app.command()
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

        fedskin campaign run task2-federated.toml --data ham10000=/data/HAM10000 --out task2

    A part of it, also trying failed trials again:

        fedskin campaign run task2-federated.toml --data ham10000=/data/HAM10000 \\
          --out task2 --only 'backbone=swin_*' --retry-failed
    """
    from experiments.campaigns.campaign_file import read_campaign
    from experiments.campaigns.choice import data_folders, find_file, patterns_of

    found = read_campaign(find_file(campaign), override or [], data_folders(data))
    patterns = patterns_of(only, found)
    carry_out(
        found.asked(patterns),
        out,
        patterns,
        retry_failed=retry_failed,
        ray_address=ray_address,
        track=track,
    )


def carry_out(
    wanted: Campaign,
    out: Path,
    patterns: Sequence[tuple[str, str]] = (),
    *,
    retry_failed: bool = False,
    ray_address: str | None = None,
    track: str | None = None,
) -> None:
    """Run the trials of a campaign that are not finished in its folder, and show their states.

    Args:
        patterns: only the trials that match; see `is_chosen`.
        retry_failed: also those that have failed.
        ray_address: of the Ray cluster on which they run; None for this machine.
        track: where the finished trials are also sent: ``mlflow``, ``tensorboard``, or None.

    Raises:
        ConfigError, DataError, RunFolderError, WeightsError: they cannot start.
        typer.Exit: 1 if a trial failed or the tracker refused, 130 on Ctrl-C.
    """
    from experiments.campaigns.campaign_display import overview
    from experiments.campaigns.campaign_folder import CampaignFolder, Planned
    from experiments.campaigns.choice import is_chosen
    from experiments.campaigns.ledger import read_ledger, write_ledger
    from experiments.campaigns.preflight import Preflight
    from training.run_state import RunState

    folder = CampaignFolder(out.absolute())
    folder.take(wanted.name)
    with folder.lock():
        folder.take(wanted.name)
        with counting(console, "Reading the images") as progress:
            preflight = Preflight(progress)
            if not folder.exists():  # otherwise finished trials may no longer need what is missing
                preflight.look(t for t in wanted.trials if is_chosen(t, patterns))
            facts = preflight.facts(wanted.trials)
        trials = {t.id(known): (t, known) for t, known in zip(wanted.trials, facts, strict=True)}
        chosen = [i for i, (trial, _) in trials.items() if is_chosen(trial, patterns)]
        if not chosen:
            raise ConfigError(f"--only: no trial of {wanted.name} matches")
        planned = [Planned(i, t.command, t.config.to_flat()) for i, (t, _) in trials.items()]
        folder.write_plan(wanted.name, planned)
        ledger = _make_room(folder, trials)
        states = folder.states(planned, at_work=False)
        skipped = (RunState.COMPLETED,) if retry_failed else (RunState.COMPLETED, RunState.FAILED)
        pending = [i for i in chosen if states[i].state not in skipped]
        if pending:
            preflight.check([trials[i][0] for i in pending], device=ray_address is None)
            _run(folder, wanted, trials, planned, pending, ray_address)
            states = folder.states(planned, at_work=False)
            ledger = read_ledger(folder.path)
        write_ledger(folder.path, ledger)
        for name, reason in ledger.set_aside.items():
            console.say(f"not in the ledger: {name}: {reason}")
        console.print(overview(wanted.name, folder, planned, states))
        tracked = track is None or _track(folder, ledger, track)
    failed = any(states[i].state != RunState.COMPLETED for i in chosen)
    if failed:
        console.say(
            f"Run failed trials again with --retry-failed; the logs are in {folder.path / 'logs'}"
        )
    if failed or not tracked:
        raise typer.Exit(1)


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


def _run(
    folder: CampaignFolder,
    campaign: Campaign,
    trials: Trials,
    planned: Sequence[Planned],
    pending: Sequence[str],
    ray_address: str | None,
) -> None:
    """Run the pending trials, as many at a time as fit on the machines, and show the progress."""
    # Imported here: Ray takes a second to import, and a finished campaign does not need it.
    from experiments.campaigns.campaign_display import CampaignDisplay
    from experiments.campaigns.jobs import make_jobs, sharing_of
    from experiments.campaigns.ledger import read_ledger, write_ledger
    from experiments.campaigns.scheduler import Cluster
    from training.run_state import RunState

    for trial_id in pending:
        folder.write_config(trial_id, trials[trial_id][0])
        folder.record(trial_id, RunState.WAITING)
    ledger_at = time.monotonic() + _LEDGER_SECONDS
    with (
        Cluster(ray_address, folder) as cluster,
        CampaignDisplay(console, campaign.name, folder, planned) as display,
    ):
        try:
            jobs = make_jobs(campaign, folder, trials, pending, cluster)
            for ended in cluster.run(jobs, sharing_of(campaign, folder, trials, cluster)):
                for trial_id, cause in ended.items():
                    if cause:
                        folder.record(trial_id, RunState.FAILED, cause)
                display.show(ended)
                if ended and time.monotonic() > ledger_at:
                    write_ledger(folder.path, read_ledger(folder.path))
                    ledger_at = time.monotonic() + _LEDGER_SECONDS
        except KeyboardInterrupt:
            console.print("Interrupted. Run the same command again to continue.")
            raise typer.Exit(130) from None


def _make_room(folder: CampaignFolder, trials: Trials) -> Ledger:
    """Move damaged or foreign run folders away, and return the ledger of the intact trials."""
    from experiments.campaigns.attempt import end_leftovers
    from experiments.campaigns.ledger import read_ledger

    for trial_id, (trial, facts) in trials.items():
        end_leftovers(folder, trial_id)
        moved = folder.make_room(trial_id, trial, facts)
        if moved:
            console.print(
                f"{trial_id}: damaged, or of another run; moved to {moved}", soft_wrap=True
            )
    ledger = read_ledger(folder.path)
    damaged = trials.keys() & ledger.set_aside.keys()
    for trial_id in sorted(damaged):
        reason, moved = ledger.set_aside[trial_id], folder.move_aside(trial_id)
        console.print(f"{trial_id}: {reason}; moved to {moved}", soft_wrap=True)
    return read_ledger(folder.path) if damaged else ledger


def _track(folder: CampaignFolder, ledger: Ledger, tracker: str) -> bool:
    """Send a tracker what it does not have yet; return whether it accepted it."""
    # Imported here: MLflow is optional, and takes seconds to import.
    from experiments.tracking.campaign_trials import track
    from experiments.tracking.tracker import TrackingError
    from experiments.tracking.trackers import TITLES

    try:
        count = track(ledger, folder.path, tracker)
    except TrackingError as error:
        console.say(marked(f"[bold red]{TITLES[tracker]}:[/] {shown(error)}"))
        return False
    console.print(f"{count} trials sent to {TITLES[tracker]}")
    return True
