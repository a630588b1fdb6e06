"""What the centralized experiments share: a config and a folder in, a finished run out."""

import shutil

import typer

from experiments.console import Console, marked, shown
from experiments.data_notes import show_notes
from experiments.display import RunDisplay, counting
from experiments.opening import bring_beginnings
from training.config import ExperimentConfig
from training.data_description import describe_data
from training.errors import TrainingError
from training.experiment_data import open_central_data, open_test_data
from training.preparation import prepare_centralized
from training.run_folder import RunFolder, environment, now
from training.text import as_text, describe_text, text_of_run


def train(console: Console, wanted: ExperimentConfig, folder: RunFolder, *, kind: str) -> None:
    """Train what is missing in a run folder, here and now.

    Args:
        console: where to show progress.
        wanted: the config, unresolved, with absolute paths and ``run-dir``.
        folder: the run's, new or begun with the same config.
        kind: the command's name, for the manifest and for what to type to go on.

    Raises:
        ConfigError, DataError, RunFolderError, WeightsError: before anything is trained.
        typer.Exit: 1 where the training fails, 130 on Ctrl-C.
    """
    config = prepare_centralized(wanted)
    if folder.exists():
        folder.check_same(config)
    if folder.manifest().get("status") == "completed":
        console.print(
            f"{folder.path} holds a completed run; nothing was left to train.", soft_wrap=True
        )
        return
    with counting(console, "Reading the images") as progress:
        data = open_central_data(config, progress)
        test_data = open_test_data(config, progress)
    about = describe_data(config, data, test_data)
    show_notes(console, about)
    bring_beginnings(config, folder, data.store.classes)
    folder.create(config)
    with folder.lock():
        folder.check_same_data(data.store.fingerprint)
        text = text_of_run(config, folder, data.store.classes)
        folder.update_manifest(
            **environment(),
            command=kind,
            status="running",
            cause=None,
            device=config.device,
            started=folder.manifest().get("started", now()),
            data=about,
            text=describe_text(text),
        )
        # Imported here: torch takes seconds, which a config at fault need not wait for.
        from training.centralized import CentralizedRun

        with RunDisplay(console, config.epochs, unit="epoch") as display:
            run = CentralizedRun(config, folder, data, test_data, as_text(text), display.step)
            try:
                display.show(folder)
                run.run(lambda: display.show(folder))
            except TrainingError as error:
                folder.update_manifest(status="failed", cause=str(error), finished=now())
                console.print(
                    marked(f"[bold red]The run failed:[/] {shown(error)}"), highlight=False
                )
                raise typer.Exit(1) from None
            except Exception as error:
                cause = f"{type(error).__name__}: {error}"
                folder.update_manifest(status="failed", cause=cause, finished=now())
                raise
            except KeyboardInterrupt:
                folder.update_manifest(status="failed", cause="interrupted", finished=now())
                console.print(
                    f"Interrupted. Resume with: fedskin {kind} --resume --out {folder.path}"
                )
                raise typer.Exit(130) from None
            folder.update_manifest(status="completed", phase="completed", finished=now())
            # As large as the weights or twice that, and only good for going on.
            shutil.rmtree(folder.path / "optimizer", ignore_errors=True)
