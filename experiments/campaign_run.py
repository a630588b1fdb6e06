"""Runs what is not finished of a campaign, and shows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from experiments.campaigns.attempt import end_leftovers
from experiments.campaigns.campaign_display import CampaignDisplay, overview
from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.campaign_folder import CampaignFolder, Planned
from experiments.campaigns.choice import is_chosen
from experiments.campaigns.ledger import Ledger, read_ledger, write_ledger
from experiments.campaigns.preflight import Preflight
from experiments.console import Console, marked, shown
from experiments.display import counting
from operation.text import counted
from training.run_state import RunState

if TYPE_CHECKING:
    from experiments.campaigns.jobs import Trials

# The ledger is derived from the run folders, so it may lag behind while the campaign runs.
_LEDGER_SECONDS = 60.0

console = Console()


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
        patterns: only the trials that match, at least one; see `is_chosen`.
        retry_failed: also those that have failed.
        ray_address: of the Ray cluster on which they run; None for this machine.
        track: where the finished trials are also sent: ``mlflow``, ``tensorboard``, or None.

    Raises:
        ConfigError, DataError, RunFolderError, WeightsError: they cannot start.
        typer.Exit: 1 if a trial failed or the tracker refused, 130 on Ctrl-C.
    """
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
        planned = [Planned(i, t.command, t.config.to_flat()) for i, (t, _) in trials.items()]
        folder.write_plan(wanted.name, planned)
        ledger = _make_room(folder, trials)
        states = folder.states(planned, at_work=False)
        skipped = (RunState.COMPLETED,) if retry_failed else (RunState.COMPLETED, RunState.FAILED)
        pending = [i for i in chosen if states[i].state not in skipped]
        if pending:
            if track is not None:
                # Imported here: trackers are optional.
                from experiments.tracking.campaign_trials import check_tracker

                check_tracker(folder.path, track)
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
    from experiments.campaigns.jobs import make_jobs, sharing_of
    from experiments.campaigns.scheduler import Cluster

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
                    began = time.monotonic()
                    write_ledger(folder.path, read_ledger(folder.path))
                    # Of a thousand trials it takes a quarter of a minute, for which they wait.
                    took = time.monotonic() - began
                    ledger_at = time.monotonic() + max(_LEDGER_SECONDS, 20 * took)
        except KeyboardInterrupt:
            console.print("Interrupted. Run the same command again to continue.")
            raise typer.Exit(130) from None


def _make_room(folder: CampaignFolder, trials: Trials) -> Ledger:
    """Move damaged or foreign run folders away, and return the ledger of the intact trials."""
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
    from experiments.tracking.follower import TITLES
    from experiments.tracking.tracker import TrackingError

    try:
        count = track(ledger, folder.path, tracker)
    except TrackingError as error:
        console.say(marked(f"[bold red]{TITLES[tracker]}:[/] {shown(error)}"))
        return False
    console.print(f"{counted(count, 'trial')} sent to {TITLES[tracker]}")
    return True
