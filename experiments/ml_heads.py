"""KNN, SVM and Random Forest on a network's deep features: ``fedskin heads``.

Also ``python -m experiments.ml_heads``.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.command_runner import run_command_line
from experiments.console import Console
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
from training.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from experiments.head_results import HeadImages
    from models.backbones import Backbone
    from training.config import ExperimentConfig
    from training.run_folder import RunFolder
    from training.weights import Weights

console = Console()


def heads_command(
    config: ConfigArgument = None,
    override: OverrideOption = None,
    out: Annotated[Path | None, run_folder_option("heads")] = None,
    resume: ResumeOption = False,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN_DIR",
            help="Use the network of this finished run, federated or not; train none.",
        ),
    ] = None,
    seeds: SeedsOption = None,
    plan: PlanOption = False,
    track: TrackOption = None,
) -> None:
    """Compare KNN, SVM and Random Forest on a network's features with the network itself.

    Trains the backbone on the training set (or uses a finished run's), computes the features of
    the training and test images once, fits the heads on the training features and evaluates them
    on the test set. Everything is in the run folder. With --from it is in that run's folder; with
    --out as well, heads and figures are in a separate folder, and the network and its features
    stay in that run's folder, which several such folders can share.

    Examples
    --------

    One of the runs of the study (docs/study.md), on the real HAM10000 and ISIC2018:

        fedskin heads -c data-dir=/data/HAM10000 -c backbone=swin_b --out runs/swin

    On the network that a federation has trained, with other neighbours:

        fedskin heads --from runs/prox -c knn-neighbors=15

    The same in a separate folder:

        fedskin heads --from runs/prox -c heads=knn -c knn-neighbors=15 \\
          --out runs/prox-15
    """
    # Imported here and below, since --help needs none of it.
    from training.head_run import network_run
    from training.run_folder import RunFolder

    if plan:
        refuse_with_plan(resume=resume, seeds=seeds, **{"from": from_run})
    if seeds is not None:
        from experiments.seeds import run_seeds

        if from_run is not None:
            raise ConfigError(f"--from {from_run}: goes without --seeds; it has one network")
        run_seeds("heads", seeds, config, override, out, resume=resume, track=track)
        return
    if resume and out is not None and from_run is None:
        mine = RunFolder(out.absolute())
        source = network_run(mine)
        from_run = None if source is mine else source.path
    if from_run is None:
        _train_and_fit(config, override, out, resume=resume, plan=plan, track=track)
        return
    if config is not None:
        raise ConfigError(f"{config}: --from goes with no CONFIG.toml; its run has one")
    _fit_on(
        RunFolder(from_run.absolute()),
        override or [],
        None if out is None else RunFolder(out.absolute()),
        resume=resume,
        track=track,
    )


def _train_and_fit(
    path: Path | None,
    overrides: list[str] | None,
    out: Path | None,
    *,
    resume: bool,
    plan: bool,
    track: str | None,
) -> None:
    """Train a network and fit heads on it, in one run folder; or only plan that."""
    from experiments.centralized import train_centralized
    from experiments.head_results import open_head_images, show_fitted
    from experiments.run_setup import check_prerequisites, open_run
    from experiments.tracking.follower import tracked, tracker_of_run
    from training.head_run import network_weights
    from training.preparation import prepare_centralized

    config, folder = open_run(path, overrides, out, resume=resume, kind="heads")
    if config.objective != "classifier":
        raise ConfigError(
            f"objective = {config.objective!r}: fedskin heads trains a classifier; for "
            "objective clip, train with fedskin clip, then use --from"
        )
    if plan:
        from experiments.planning.run_plan_tables import show_run_plan

        show_run_plan(console, "heads", config, folder)
        return
    if resume:
        wanted = prepare_centralized(config)
        folder.check_same(wanted)
        if folder.is_completed(wanted) and show_fitted(console, folder, config):
            with tracked(tracker_of_run(track, folder.path), folder, console):
                return
    check_prerequisites(prepare_centralized(config), folder, federated=False, needs_test=True)
    tracker = tracker_of_run(track, folder.path)
    images = open_head_images(console, config, federated=False)
    with tracked(tracker, folder, console):
        train_centralized(console, config, folder, kind="heads")
        images.check_same(folder)
        _fit(
            folder.config(), folder, folder, network_weights(folder, folder, features=True), images
        )


def _fit_on(
    source: RunFolder,
    overrides: list[str],
    out: RunFolder | None,
    *,
    resume: bool,
    track: str | None,
) -> None:
    """Fit heads on a finished run's network, in its folder or in a separate one."""
    from experiments.head_results import open_head_images, show_fitted
    from experiments.tracking.follower import tracked, tracker_of_run
    from training.device import resolve_device
    from training.head_run import begin, network_run, network_weights
    from training.preparation import outline_data, prefetch_base

    manifest = source.manifest()
    if "from" in manifest:
        owner = network_run(source).path
        raise RunFolderError(
            f"{source.path}: has no network; use the run that has it: --from {owner}"
        )
    if resume and out is None:
        raise ConfigError("--resume: with --from, give the folder of the heads with --out")
    if out is not None and out.exists() and not resume:
        raise RunFolderError(
            f"{out.path}: already holds a run; add --resume to continue it, or choose another "
            "folder"
        )
    folder = source if out is None else out
    if resume and not overrides:
        config = folder.config()
    else:
        config = _with_heads_of(source.config(), overrides).replace(run_dir=str(folder.path))
    if resume:
        folder.check_same(config)
        if network_run(folder) is folder:
            raise RunFolderError(
                f"{folder.path}: was not started with --from; choose another folder"
            )
    weights = network_weights(folder, source, features=True)
    if resume and show_fitted(console, folder, config):
        with tracked(tracker_of_run(track, folder.path), folder, console):
            return
    # The run's device need not exist on this machine.
    device = resolve_device("auto")
    precision = config.precision if device == "cuda" else "float32"
    here = config.replace(device=device, precision=precision)
    federated = manifest["command"] == "simulate"
    outline_data(here, federated=federated, needs_test=True)
    if not (source.path / "features").is_dir():  # else the network may not be needed
        prefetch_base(here)
    tracker = tracker_of_run(track, folder.path)
    images = open_head_images(console, here, federated=federated)
    images.check_same(source)
    if out is not None and not resume:
        begin(out, config, source, weights)
    with tracked(tracker, folder, console):
        _fit(here, folder, source, weights, images)


def _with_heads_of(config: ExperimentConfig, overrides: list[str]) -> ExperimentConfig:
    """Return a finished run's config with only its heads' settings changed."""
    from experiments.run_setup import load_config
    from training.head_settings import HEAD_KEYS

    given = load_config(None, overrides).to_flat()
    named = [override.partition("=")[0].strip() for override in overrides]
    wrong = [key for key in named if key not in HEAD_KEYS]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: with --from only the heads can be set: {', '.join(HEAD_KEYS)}"
        )
    return config.replace(**{key.replace("-", "_"): given[key] for key in named})


def _fit(
    config: ExperimentConfig,
    folder: RunFolder,
    source: RunFolder,
    weights: Weights,
    images: HeadImages,
) -> None:
    # Imported here: scikit-learn takes a second, and no other command needs it.
    from experiments.head_results import show_heads
    from experiments.run_setup import recorded
    from training.clip_text import as_text, text_of_run
    from training.head_figures import HeadFigures

    classes = images.training.classes

    def network() -> Backbone:
        # Imported here: torch takes seconds, and heads on stored features do not need it.
        from training.task import Task

        text = as_text(text_of_run(config, source, classes))
        base = source.manifest().get("base_sha256")
        return Task(config, len(classes), text, base).restore(weights)

    own = nullcontext() if folder is source else recorded(folder, device=config.device)
    with folder.lock(), own, console.status("") as status:
        HeadFigures(
            config,
            folder,
            source,
            weights,
            network,
            images.training,
            images.test_data,
            status.update,
        ).run()
    show_heads(console, folder)


if __name__ == "__main__":
    run_command_line(lambda: typer.run(heads_command))
