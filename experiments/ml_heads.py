"""KNN, SVM and Random Forest on a network's deep features: ``fedskin heads``.

Also ``python -m experiments.ml_heads``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data_partition.overlap import overlap, refuse
from experiments.centralized import train
from experiments.display import counting
from experiments.opening import (
    ConfigArgument,
    OverrideOption,
    ResumeOption,
    load_config,
    open_run,
)
from models.errors import HeadError
from training.config import ExperimentConfig
from training.device import resolve_device
from training.errors import ConfigError, RunFolderError
from training.experiment_data import open_central_data, open_test_data, training_images
from training.metrics import METRIC_NAMES
from training.run_folder import RunFolder
from training.split import some_of
from training.text import as_text, text_of_run

if TYPE_CHECKING:
    from models.backbones import Backbone

HEAD_KEYS = ("knn-neighbors", "svm-c", "svm-gamma", "forest-trees", "tune-heads")
TITLES = {"network": "network", "knn": "+KNN", "svm": "+SVM", "rf": "+RF"}

console = Console()


def heads_command(
    config: ConfigArgument = None,
    override: OverrideOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder.", show_default="runs/<date>-heads-<backbone>"),
    ] = None,
    resume: ResumeOption = False,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN_DIR",
            help="Take the network of this finished run, federated or not, and train none.",
        ),
    ] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap", help="Go on where test images also stand in the training set."
        ),
    ] = False,
) -> None:
    """Judge KNN, SVM and Random Forest on a network's features, beside the network itself.

    Trains the backbone on the training set (or takes a finished run's), computes the features of
    the training and test images once, fits the heads on the training features and judges them on
    the test set. All of it stands in the run folder; with --from in that run's.

    Examples
    --------

    One of the study's runs, on the real HAM10000 and ISIC2018:

        fedskin heads -c data-dir=/data/HAM10000 -c backbone=swin_b --out runs/swin

    On the network that a federation has trained, with other neighbours:

        fedskin heads --from runs/prox -c knn-neighbors=15
    """
    if from_run is not None:
        if config is not None or out is not None or resume:
            raise ConfigError(
                "--from: goes with no CONFIG.toml, --out or --resume; its run has all"
            )
        folder = RunFolder(from_run.absolute())
        chosen = _with_heads_of(folder.config(), override or [])
        if folder.manifest().get("status") != "completed":
            raise RunFolderError(f"{folder.path}: the run is not completed; finish it first")
    else:
        chosen, folder = open_run(config, override, out, resume=resume, kind="heads")
        if chosen.objective != "classifier":
            raise ConfigError(
                f"objective = {chosen.objective!r}: fedskin heads trains a classifier; for "
                "objective clip train with fedskin clip and come back with --from"
            )
    if from_run is not None:
        # Where the run computed says nothing about where its features are.
        here = resolve_device("auto")
        precision = chosen.precision if here == "cuda" else "float32"
        chosen = chosen.replace(device=here, precision=precision)
    federated = folder.manifest().get("command") == "simulate"
    _check_images(chosen, federated=federated, allow_overlap=allow_overlap)
    if from_run is None:
        train(console, chosen, folder, kind="heads")
        chosen = folder.config()
    figures = _figures(chosen, folder, federated=federated)
    console.print(_table(figures, synthetic=folder.manifest()["data"]["synthetic"]))
    console.print(f"The run folder is {folder.path}", highlight=False, soft_wrap=True)


def _with_heads_of(config: ExperimentConfig, overrides: list[str]) -> ExperimentConfig:
    """Return a finished run's config with only its heads' settings changed."""
    given = load_config(None, overrides).to_flat()
    named = [override.partition("=")[0].strip() for override in overrides]
    wrong = [key for key in named if key not in HEAD_KEYS]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: with --from only the heads can be set: {', '.join(HEAD_KEYS)}"
        )
    return config.replace(**{key.replace("-", "_"): given[key] for key in named})


def _check_images(config: ExperimentConfig, *, federated: bool, allow_overlap: bool) -> None:
    """Refuse what heads cannot be fitted or judged on, before a network is trained for them.

    Test images that also stand in the training set are refused or, with ``allow_overlap``, only
    reported. Its validation images count, too: they chose the best model.
    """
    with counting(console, "Reading the images") as progress:
        test_data = open_test_data(config, progress)
    if test_data is None:
        raise ConfigError("test-dir = '': heads are judged on a test set, and there is none")
    training = training_images(config, federated=federated)
    for kind, rows in (("training", training.rows), ("test", test_data.rows)):
        present = set(rows["label"])
        absent = [name for name in training.classes if name not in present]
        if absent:
            raise HeadError(
                f"no {kind} image is of class {', '.join(absent)}; heads need {kind} images of "
                "every class, which another seed or more images may give"
            )
    data = open_central_data(config)
    release = some_of(data.store, data.split_names != "test")
    found = overlap(
        data.store.rows["image_id"].iloc[release.indices],
        release,
        test_data.rows["image_id"],
        test_data.split,
    )
    if allow_overlap:
        for line in found.lines():
            console.print(line, highlight=False, soft_wrap=True)
    else:
        refuse(found)


def _figures(config: ExperimentConfig, folder: RunFolder, *, federated: bool) -> dict[str, Any]:
    # Imported here: scikit-learn takes a second, which no other command needs.
    from training.head_figures import HeadFigures

    training = training_images(config, federated=federated)
    test_data = open_test_data(config)
    assert test_data is not None  # asked for before
    folder.check_same_data(training.fingerprint)
    if test_data.fingerprint != folder.manifest()["data"]["test_fingerprint"]:
        raise RunFolderError(
            f"{folder.path}: data-dir or test-dir holds other test images than the run was judged "
            "on; bring those back"
        )
    weights = folder.checkpoint.weights(folder.metrics()["best_round"])

    def network() -> "Backbone":
        # Imported here: with features in store, heads need no torch, which takes seconds.
        from training.network import restore_network

        text = as_text(text_of_run(config, folder, training.classes))
        return restore_network(config, len(training.classes), weights, text)

    with folder.lock(), console.status("") as status:
        run = HeadFigures(config, folder, weights, network, training, test_data, status.update)
        return run.run()


def _table(figures: dict[str, Any], *, synthetic: bool) -> Table:
    """Return the figures of network and heads, with the interval of AVG and the paired test."""
    count = figures["network"]["n"]
    title = f"{count} test images, in percent; 95 %: interval of AVG;\n"
    title += "p: McNemar's exact test of who is right, head against network"
    if synthetic:
        title += "\nSYNTHETIC images: these figures say nothing about patients"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in METRIC_NAMES:
        table.add_column(name.upper(), justify="right")
    table.add_column("95 %", justify="right")
    table.add_column("p", justify="right")
    for name, block in figures.items():
        low, high = block["intervals"]["avg"]
        paired = block.get("against_network")
        table.add_row(
            TITLES[name],
            *(f"{block[figure]:.2f}" for figure in METRIC_NAMES),
            f"{low:.0f}–{high:.0f}",
            "" if paired is None else _p_value(paired["p_value"]),
        )
    return table


def _p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


if __name__ == "__main__":
    from experiments.cli import run

    run(lambda: typer.run(heads_command))
