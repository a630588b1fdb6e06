"""A federated run on one machine: ``fedskin simulate``."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.display import RunDisplay, counting
from experiments.tables import results_table
from fl_server.preparation import PATH_KEYS, prepare
from fl_server.simulation import SimulationFailed, simulate, take_over
from fl_server.superlink import SuperLink, SuperLinkError
from training.config import ExperimentConfig, load
from training.errors import RunFolderError
from training.experiment_data import open_federated_data, open_test_data
from training.run_folder import RunFolder
from training.study import resolve_like

console = Console()


def simulate_command(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", show_default=False)
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("-c", metavar="KEY=VALUE", help="Set one key, over the file. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder.", show_default="runs/<date>-<backbone>-<strategy>"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out from its last round.")
    ] = False,
) -> None:
    """Train one classifier over several simulated hospitals, on this machine.

    A Flower server and its clients (Ray processes) run the federation that CONFIG.toml and the
    -c options describe; every key has a default, so CONFIG.toml may be left out. The results
    are in the run folder: metrics.json, predictions, one line per round, the weights.

    Examples
    --------

    One of the study's 120 federated runs, on the real HAM10000:

        fedskin simulate -c data-dir=/data/HAM10000 -c backbone=convnext_l -c strategy=fedprox

    Small, from scratch, on synthetic images, with what SMALL.toml says of the network:

        fedskin data synth skin
        fedskin simulate SMALL.toml -c data-dir=skin -c rounds=5 --out runs/first

    Going on after a crash or Ctrl-C:

        fedskin simulate --resume --out runs/first
    """
    wanted, folder = _open(config, override or [], out, resume=resume)
    run_config, resources = prepare(wanted)
    if folder.exists():
        folder.check_same(run_config)
    if folder.manifest().get("status") == "completed":
        console.print(f"{folder.path} holds a completed run; nothing was left to do.")
        show_results(folder)
        return
    with counting(console, "Reading the images") as progress:
        open_federated_data(run_config, progress)
        open_test_data(run_config, progress)
    if run_config.pretrained:
        from models.backbones import locate_pretrained

        weights_dir = Path(run_config.weights_dir) if run_config.weights_dir else None
        locate_pretrained(run_config.backbone, weights_dir)
    take_over(folder)
    folder.create(run_config)
    try:
        with (
            RunDisplay(console, run_config.rounds) as display,
            SuperLink(folder.log_path) as superlink,
        ):
            simulate(run_config, folder, superlink, resources, display.show)
    except (SimulationFailed, SuperLinkError) as failure:
        console.print(f"[bold red]The run failed:[/] {_plain(str(failure))}", highlight=False)
        console.print(f"The log is {folder.log_path}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print(f"Interrupted. Go on with: fedskin simulate --resume --out {folder.path}")
        raise typer.Exit(130) from None
    show_results(folder)


def show_results(folder: RunFolder) -> None:
    """Print the final figures of a completed run, and where everything is."""
    manifest = folder.manifest()
    table = results_table(folder.metrics(), synthetic=manifest["data"]["synthetic"])
    console.print(table)
    if "global_test" not in folder.metrics():
        console.print("There is no global test set in data-dir, so there are no figures for it.")
    console.print(f"The run folder is {folder.path}", highlight=False, soft_wrap=True)


def _open(
    path: Path | None, overrides: list[str], out: Path | None, *, resume: bool
) -> tuple[ExperimentConfig, RunFolder]:
    """Return the config as wanted, with absolute paths, and the folder that it goes into."""
    if resume and out is None:
        raise RunFolderError("--resume: name the run folder with --out")
    if resume and out is not None and path is None and not overrides:
        folder = RunFolder(out.absolute())
        return folder.config().replace(run_dir=str(folder.path)), folder
    config = load(path, overrides)
    for key in PATH_KEYS:
        if value := str(config.to_flat()[key]):
            config = config.replace(**{key: str(Path(value).expanduser().absolute())})
    if out is None:
        started = datetime.now().strftime("%Y%m%d-%H%M%S")
        out = Path(config.run_dir or f"runs/{started}-{config.backbone}-{config.strategy}")
    folder = RunFolder(out.absolute())
    if resume:
        config = resolve_like(config, folder.config())
    elif folder.exists():
        raise RunFolderError(
            f"{folder.path}: holds a run already; add --resume to go on with it, or choose "
            "another folder"
        )
    return config.replace(run_dir=str(folder.path)), folder


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
