"""A federated run over real sites: ``fedskin run``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console, marked, shown
from experiments.display import RunDisplay, counting, show_notices
from experiments.options import (
    ConfigArgument,
    OverrideOption,
    PlanOption,
    ResumeOption,
    TrackOption,
    refuse_with_plan,
    run_folder_option,
)
from operation.errors import OperationError
from operation.serving import serving
from training.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from fl_server.coordinator.coordinator_folder import CoordinatorFolder
    from fl_server.coordinator.orders import Order, Orders
    from training.config import ExperimentConfig
    from training.run_folder import RunFolder

console = Console()

POLL_SECONDS = 0.2
# The process that serves the coordinator's folder may be restarting.
UNSERVED_SECONDS = 60.0


def run_command(
    on: Annotated[
        Path,
        typer.Option("--on", metavar="DIR", help="The coordinator's folder.", show_default=False),
    ],
    config: ConfigArgument = None,
    override: OverrideOption = None,
    out: Annotated[Path | None, run_folder_option("run")] = None,
    resume: ResumeOption = False,
    plan: PlanOption = False,
    track: TrackOption = None,
) -> None:
    """Train one network over the sites that the coordinator of DIR admitted.

    The run is executed by  fedskin coordinator serve DIR, which must be running; this command only
    watches it, and Ctrl-C does not stop the run. The run folder has the results, as for simulate.

    Examples
    --------

    Over three hospitals, evaluated on the challenge's test set, which the coordinator has:

        fedskin run --on coordinator -c dataset=ham10000 \\
          -c test-dir=/data/ISIC2018 --out runs/first

    Watch it again, or resume it after it failed or was stopped:

        fedskin run --on coordinator --resume --out runs/first
    """
    # Imported here and below, since --help needs none of it.
    from experiments.results import show_results
    from experiments.run_setup import open_run
    from experiments.tracking.follower import tracked, tracker_of_run
    from fl_server.coordinator.coordinator_folder import CoordinatorFolder
    from fl_server.coordinator.orders import UNFINISHED, Orders
    from training.run_state import RunState

    folder = CoordinatorFolder(on)
    folder.settings()
    if plan:
        _show_plan(folder, config, override, out, resume=resume)
        return
    wanted, run_folder = open_run(config, override, out, resume=resume, kind="run")
    orders = Orders(folder)
    order = orders.find(run_folder.path)
    if run_folder.is_completed(wanted):
        run_folder.check_same(wanted)
        console.say(f"{run_folder.path} holds a completed run; nothing to do.")
        with tracked(tracker_of_run(track, run_folder.path), run_folder, console):
            pass
        show_results(console, run_folder)
        return
    tracker = tracker_of_run(track, run_folder.path)
    if order is None or order.state not in UNFINISHED:
        order = _order(wanted, run_folder, folder, orders)
    else:
        _check_served(folder)
        run_folder.check_same(wanted)
        under_way = run_folder.config()
        for key in ("rounds", "patience"):
            if (new := wanted.to_flat()[key]) != (old := under_way.to_flat()[key]):
                raise RunFolderError(
                    f"{run_folder.path}: is running with {key} = {old}; when it has ended or was "
                    f"stopped, resume it with {key} = {new}"
                )
    console.say(f"This is run {order.number} of {folder.path}")
    try:
        with tracked(tracker, run_folder, console) as ended:
            order = _watch(order, orders, run_folder, folder, wanted.rounds)
            ended(order.state, order.cause or "")
    except KeyboardInterrupt:
        again, end = f"fedskin run --on {on} --resume --out", f"fedskin coordinator stop {on}"
        console.say(f"The run continues. Watch it again with:  {again} {run_folder.path}")
        console.say(f"Stop it with:  {end} {order.number}")
        raise typer.Exit(130) from None
    if order.state != RunState.COMPLETED:
        console.say(marked(f"[bold red]The run ended:[/] {shown(order.cause)}"))
        console.say(f"The logs are {run_folder.log_path} and {folder.logs}")
        raise typer.Exit(1)
    show_results(console, run_folder)


def _show_plan(
    folder: CoordinatorFolder,
    path: Path | None,
    overrides: list[str] | None,
    out: Path | None,
    *,
    resume: bool,
) -> None:
    """Show what the coordinator can know of a run; it need not be served."""
    from experiments.planning.site_plan import show_site_plan
    from experiments.run_setup import open_run
    from fl_server.coordinator.bundles import check_plugins
    from training.declared_keys import without_effect

    refuse_with_plan(resume=resume)
    wanted, run_folder = open_run(path, overrides, out, resume=False, kind="run")
    sites = _participants(run_folder, folder)
    config = check_deployable(wanted, sites)
    check_plugins(folder, config)
    show_notices(console, without_effect(config.to_flat()))
    with counting(console, "Measuring training steps") as progress:
        show_site_plan(console, wanted, config, sites, run_folder, progress)


def check_deployable(config: ExperimentConfig, sites: Sequence[str]) -> ExperimentConfig:
    """Resolve a config that these sites will run.

    Raises:
        ConfigError: it is for another number of sites, or sites cannot run it.
    """
    from fl_server.federated_config import prepare_deployed

    faults = []
    if not sites:
        faults.append("no site is admitted; admit each with  fedskin coordinator admit")
    elif config.clients != len(sites):
        faults.append(
            f"clients = {config.clients}: allowed is {len(sites)}, the number of sites that are "
            f"admitted: {', '.join(sites)}"
        )
    try:
        resolved = prepare_deployed(config)
    except ConfigError as error:
        faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return resolved


def _order(
    wanted: ExperimentConfig, run_folder: RunFolder, folder: CoordinatorFolder, orders: Orders
) -> Order:
    """Check a run, make its folder, and submit it to the coordinator."""
    from data_partition.datasets import find_dataset
    from fl_server.coordinator.bundles import bundle_to_run, check_plugins
    from fl_server.federated_config import for_server
    from training.declared_keys import without_effect
    from training.preparation import prefetch
    from training.run_environment import environment
    from training.run_state import RunState
    from training.site_data import open_test_dir

    sites = _participants(run_folder, folder)
    config = check_deployable(wanted, sites)
    check_plugins(folder, config)
    show_notices(console, without_effect(config.to_flat()))
    _check_served(folder)  # only now: nobody should start it for a config that is refused
    here = for_server(config)
    prefetch(here, run_folder, find_dataset(config.dataset).classes)
    with console.status("Reading the images of test-dir"):
        open_test_dir(here)
    run_folder.create(config)
    run_folder.update_manifest(
        **environment(),
        command="run",
        status=RunState.RUNNING,
        phase="waiting for the coordinator",
        cause=None,
        finished=None,
    )
    return orders.add(run_folder.path, sites, bundle_to_run(folder))


def _check_served(folder: CoordinatorFolder) -> None:
    if serving(folder.path) is None:
        raise OperationError(
            f"{folder.path}: is not served; start  fedskin coordinator serve {folder.path}"
        )


def _participants(run_folder: RunFolder, folder: CoordinatorFolder) -> list[str]:
    """Return all sites for a new run, and for a resumed run the sites that it has."""
    from fl_server.coordinator.sites import Sites

    admitted = list(Sites(folder).active())
    began = list(run_folder.manifest().get("clients", admitted))
    missing = [name for name in began if name not in admitted]
    if missing:
        raise RunFolderError(
            f"{run_folder.path}: started with {', '.join(missing)} (no longer admitted); "
            "choose another run folder"
        )
    return began


def _watch(
    order: Order, orders: Orders, run_folder: RunFolder, folder: CoordinatorFolder, rounds: int
) -> Order:
    """Show a run until it has ended, and return its order."""
    from fl_server.coordinator.orders import UNFINISHED

    served = time.monotonic()
    with RunDisplay(console, rounds, before=run_folder.rounds_file.count()) as display:
        while True:
            order = orders.get(order.number)
            display.show(run_folder)
            if order.state not in UNFINISHED:
                return order
            if serving(folder.path) is not None:
                served = time.monotonic()
            elif time.monotonic() > served + UNSERVED_SECONDS:
                raise OperationError(
                    f"{folder.path}: is no longer served; the run continues with  fedskin "
                    f"coordinator serve {folder.path}"
                )
            time.sleep(POLL_SECONDS)
