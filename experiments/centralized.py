"""The common part of centralized experiments: train a config's run in a folder."""

import shutil

import typer

from experiments.console import Console, marked, shown
from experiments.display import OF_FEATURES, RunDisplay, counting, show_notes, show_notices
from experiments.run_setup import check_prerequisites, recorded
from experiments.tracking.follower import tracked, tracker_of_run
from training.clip_text import as_text, describe_text, text_of_run
from training.config import ExperimentConfig
from training.data_description import describe_data
from training.errors import RunFolderError, TrainingError
from training.experiment_data import open_central_data, open_test_data
from training.optimizers import state_tensors
from training.preparation import prepare_centralized
from training.run_environment import environment
from training.run_folder import RunFolder, now


def train_centralized(
    console: Console,
    wanted: ExperimentConfig,
    folder: RunFolder,
    *,
    kind: str,
    track: str | None = None,
) -> None:
    """Train the missing epochs of a run folder, in this process.

    Args:
        wanted: the config, unresolved, with absolute paths and ``run-dir``.
        folder: the run's, new or started with the same config.
        kind: the command's name, for the manifest and for the command to resume.
        track: where the training is tracked: ``mlflow``, ``tensorboard``, or None.

    Raises:
        ConfigError, DataError, RunFolderError, WeightsError: before training starts.
        typer.Exit: 1 if the training fails, 130 on Ctrl-C or SIGTERM.
    """
    config = prepare_centralized(wanted)
    if folder.exists():
        folder.check_same(config)
    if folder.is_completed(config):
        console.print(f"{folder.path} holds a completed run; nothing to train.", soft_wrap=True)
        _remove_optimizer(folder)
        with tracked(tracker_of_run(track, folder.path), folder, console):
            return
    if folder.is_completed() and state_tensors(config.to_flat()):
        raise RunFolderError(
            f"{folder.path}: is completed, and the state of its optimizer ({config.optimizer}) was "
            f"removed then, so more epochs would not be those of one run; train {config.epochs} "
            "epochs in another folder"
        )
    outline = check_prerequisites(config, folder, federated=False)
    show_notices(console, outline.notices)
    tracker = tracker_of_run(track, folder.path)
    with counting(console, "Reading the images") as progress:
        data = open_central_data(config, progress, table=outline.table)
        test_data = open_test_data(config, progress, store=data.store)
    about = describe_data(config, data, test_data)
    show_notes(console, about)
    folder.create(config)
    with folder.lock(), tracked(tracker, folder, console):
        folder.check_same_images("data-dir", data.store.fingerprint)
        text = text_of_run(config, folder, data.store.classes)
        entries = {
            **environment(),
            "command": kind,
            "finished": None,
            "device": config.device,
            "started": folder.manifest().get("started", now()),
            "data": about,
            "text": describe_text(text),
        }
        try:
            with recorded(folder, **entries):
                # Imported here: torch takes seconds, too long to wait for an error in the config.
                from training.centralized_run import CentralizedRun

                console.print(f"CPU threads: {config.threads_per_client}", highlight=False)
                before = folder.rounds_file.count()
                if config.on_features and not before:
                    console.print(f"Epoch 1 also {OF_FEATURES}", highlight=False)
                with RunDisplay(console, config.epochs, unit="epoch", before=before) as display:
                    run = CentralizedRun(
                        config, folder, data, test_data, as_text(text), display.step
                    )
                    display.show(folder)
                    run.run(lambda: display.show(folder))
                folder.update_manifest(phase="completed")
        except TrainingError as error:
            console.say(marked(f"[bold red]The run failed:[/] {shown(error)}"))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            console.say(f"Interrupted. Resume with: fedskin {kind} --resume --out {folder.path}")
            raise typer.Exit(130) from None
        _remove_optimizer(folder)


def _remove_optimizer(folder: RunFolder) -> None:
    """Remove the optimizer's state, up to twice as large as the weights: only resuming needs it."""
    shutil.rmtree(folder.path / "optimizer", ignore_errors=True)
