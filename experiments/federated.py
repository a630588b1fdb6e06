"""A federated run on one machine: ``fedskin simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console, marked, shown
from experiments.options import (
    ConfigArgument,
    OverrideOption,
    PlanOption,
    ResumeOption,
    SeedsOption,
    TrackOption,
    refuse_with_plan,
    run_folder_option,
)
from operation.text import counted

if TYPE_CHECKING:
    from fl_server.federated_config import Resources
    from fl_server.simulation_superlink import SuperLink
    from training.config import ExperimentConfig
    from training.run_folder import RunFolder

console = Console()


def simulate_command(
    config: ConfigArgument = None,
    override: OverrideOption = None,
    out: Annotated[Path | None, run_folder_option("simulate")] = None,
    resume: ResumeOption = False,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Spread the clients over this Ray cluster, or auto."),
    ] = None,
    seeds: SeedsOption = None,
    plan: PlanOption = False,
    track: TrackOption = None,
) -> None:
    """Train one network over several simulated hospitals, on this machine or on a Ray cluster.

    A Flower server and its clients (Ray processes) run the federation that CONFIG.toml and the
    -c options describe; every key has a default, so CONFIG.toml may be left out. The results
    are in the run folder: metrics.json, predictions, one line per round, the weights.

    Examples
    --------

    One of the 120 federated runs of the study (docs/study.md), on the real HAM10000:

        fedskin simulate -c data-dir=/data/HAM10000 \\
          -c backbone=convnext_l -c strategy=fedprox

    Against the text features of a CLIP encoder; only image encoders are sent:

        fedskin simulate -c data-dir=/data/HAM10000 \\
          -c objective=clip -c backbone=maxvit_t

    Small, from scratch, on synthetic images, with your own SMALL.toml for the network:

        fedskin data synth skin
        fedskin simulate SMALL.toml -c data-dir=skin -c rounds=5 --out runs/first

    With three seeds, whose means and spread the report then shows:

        fedskin simulate -c data-dir=/data/HAM10000 --seeds 0,1,2 --out runs/seeds
        fedskin report runs/seeds

    What it will need, and how long it will take, before anything is trained:

        fedskin simulate -c data-dir=/data/HAM10000 -c backbone=swin_t --plan

    Resume after a crash or Ctrl-C; or, also when it is completed, for more rounds:

        fedskin simulate --resume --out runs/first
        fedskin simulate --resume --out runs/first -c rounds=80
    """
    # Imported here, since --help needs none of it.
    from experiments.results import show_results
    from experiments.run_setup import open_run
    from fl_server.simulation import SimulationFailed
    from training.run_state import INTERRUPTED

    if plan:
        from experiments.planning.run_plan_tables import show_run_plan

        refuse_with_plan(resume=resume, ray_address=ray_address, seeds=seeds)
        run = open_run(config, override, out, resume=False, kind="simulate")
        show_run_plan(console, "simulate", *run)
        return
    if seeds is not None:
        from experiments.seeds import run_seeds

        run_seeds(
            "simulate",
            seeds,
            config,
            override,
            out,
            resume=resume,
            ray_address=ray_address,
            track=track,
        )
        return
    wanted, folder = open_run(config, override, out, resume=resume, kind="simulate")
    try:
        run_simulation(wanted, folder, console, ray_address, track)
    except SimulationFailed as failure:
        console.say(marked(f"[bold red]The run failed:[/] {shown(failure)}"))
        console.say(f"The log is {folder.log_path}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        if folder.exists():
            # Again, after the ServerApp has ended, because it may have overwritten the record.
            folder.fail(INTERRUPTED)
            console.say(f"Interrupted. Resume with: fedskin simulate --resume --out {folder.path}")
        else:
            console.say("Interrupted before the run began: nothing was written")
        raise typer.Exit(130) from None
    show_results(console, folder)


def run_simulation(
    wanted: ExperimentConfig,
    folder: RunFolder,
    console: Console,
    ray_address: str | None = None,
    track: str | None = None,
) -> None:
    """Run a simulation to its end, or what is missing of it.

    Args:
        wanted: as the user wrote it, with absolute paths and ``run-dir``.
        folder: the run folder; new, or of a run with the same config.
        ray_address: of the Ray cluster on which the clients run; None for this machine.
        track: where the run is tracked: ``mlflow``, ``tensorboard``, or None.

    Raises:
        ConfigError, DataError, WeightsError, RunFolderError: it cannot start; nothing was written.
        SimulationFailed: it ended without a result; the cause is in the manifest.
    """
    from fl_server.federated_config import prepare_simulated
    from fl_server.simulation import libraries_of
    from fl_server.simulation_superlink import SuperLink

    libraries = libraries_of(wanted.backbone)
    if ray_address is None:
        # Its processes import libraries while this one plans, and reads the images.
        with SuperLink(folder.log_path, libraries=libraries) as superlink:
            run_config, resources = prepare_simulated(wanted)
            _run(run_config, resources, folder, superlink, console, track)
    else:
        run_config, resources, address = _plan_on_cluster(wanted, folder, ray_address)
        with SuperLink(folder.log_path, address, libraries) as superlink:
            _run(run_config, resources, folder, superlink, console, track)


def clients_line(config: ExperimentConfig, resources: Resources) -> str:
    """Return how many clients compute at the same time, and whether memory is why."""
    from joblib import cpu_count

    from fl_server.federated_config import concurrency

    at_once = resources.concurrency
    few = not resources.cluster_cpus and at_once < concurrency(config.asked_clients, cpu_count())
    return (
        f"{counted(config.clients, 'client')}, {at_once} at the same time"
        f"{', which is what the memory holds' if few else ''}; "
        f"CPU threads of each: {config.threads_per_client}"
    )


def _run(
    config: ExperimentConfig,
    resources: Resources,
    folder: RunFolder,
    superlink: SuperLink,
    console: Console,
    track: str | None,
) -> None:
    from experiments.display import OF_FEATURES, RunDisplay, counting, show_notes, show_notices
    from experiments.run_setup import check_prerequisites
    from experiments.tracking.follower import tracked, tracker_of_run
    from fl_server.simulation import simulate, take_over
    from training.data_description import describe_data
    from training.experiment_data import open_federated_data, open_left_out, open_test_data
    from training.reference import open_reference

    if folder.exists():
        folder.check_same(config)
    if folder.is_completed(config):
        console.say(f"{folder.path} holds a completed run; nothing to do.")
        with tracked(tracker_of_run(track, folder.path), folder, console):
            return
    outline = check_prerequisites(config, folder, federated=True)
    show_notices(console, outline.notices)
    tracker = tracker_of_run(track, folder.path)
    with counting(console, "Reading the images") as progress:
        data = open_federated_data(config, progress, table=outline.table)
        test_data = open_test_data(config, progress, store=data.store)
        left_out = open_left_out(config, data)
        open_reference(config, progress)
    show_notices(console, [said for said in data.store.notices if said not in outline.notices])
    show_notes(console, describe_data(config, data, test_data, left_out))
    take_over(folder)
    folder.create(config)
    folder.update_manifest(command="simulate")
    console.print(clients_line(config, resources), highlight=False)
    before = folder.rounds_file.count()
    if config.on_features and not before:
        console.print(f"Round 1 also {OF_FEATURES}", highlight=False)
    with (
        tracked(tracker, folder, console),
        RunDisplay(console, config.rounds, before=before) as display,
    ):
        simulate(config, folder, superlink, resources, display.show)


def _plan_on_cluster(
    wanted: ExperimentConfig, folder: RunFolder, address: str
) -> tuple[ExperimentConfig, Resources, str]:
    """Return the resolved config, the plan, and the cluster's own address."""
    # Imported here: Ray takes a second to import.
    from experiments.run_setup import check_prerequisites
    from fl_server.cluster_plan import prepare_on_cluster
    from fl_server.ray_cluster import check_images, joined

    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with joined(address, folder.path.parent) as cluster:
        config, resources = prepare_on_cluster(wanted, cluster)
        if not folder.is_completed(config):
            check_prerequisites(config, folder, federated=True)  # before images are decoded
            check_images(cluster, config)
        return config, resources, cluster.address
