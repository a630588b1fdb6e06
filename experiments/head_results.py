"""The images that heads are fitted to and evaluated on, and the table of their figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from experiments.calibration_text import calibration_lines
from experiments.console import Console
from experiments.display import counting, overlap_note, show_notices
from experiments.figures_table import (
    OVER,
    metric_cells,
    metric_columns,
    new_table,
    recall_table,
    scores_tables,
)
from experiments.run_faults import faults_told
from models.errors import HeadError
from training.config import ExperimentConfig
from training.data_description import SYNTHETIC
from training.errors import ConfigError, RunFolderError
from training.experiment_data import open_test_data, training_images
from training.head_settings import FITTED_WITH, head_values
from training.run_folder import RunFolder
from training.split import GlobalTestSet, StoredImages


@dataclass(frozen=True)
class HeadImages:
    """The images that heads are fitted to (their network's training images) and evaluated on."""

    training: StoredImages
    test_data: GlobalTestSet

    def check_same(self, source: RunFolder) -> None:
        """Refuse other images than those that a network was trained and evaluated on.

        Raises:
            RunFolderError: names the images to restore.
        """
        source.check_same_images("data-dir", self.training.fingerprint)
        if self.test_data.fingerprint != source.data().get("test_fingerprint"):
            raise RunFolderError(
                f"{source.path}: data-dir or test-dir holds other test images than the run was "
                "evaluated on; restore those"
            )


def open_head_images(console: Console, config: ExperimentConfig, *, federated: bool) -> HeadImages:
    """Open the images; refuse unusable ones before a network is trained."""
    with counting(console, "Reading the images") as progress:
        test_data = open_test_data(config, progress)
    if test_data is None:
        raise ConfigError("test-dir = '': heads are evaluated on a test set, and there is none")
    training = training_images(config, federated=federated)
    present = set(training.rows["label"])
    absent = [name for name in training.classes if name not in present]
    if absent:
        raise HeadError(
            f"no training image is of class {', '.join(absent)}; heads need training images of "
            "every class: try another seed or more images"
        )
    return HeadImages(training, test_data)


TITLES = {"network": "network", "knn": "+KNN", "svm": "+SVM", "rf": "+RF"}


def show_heads(console: Console, folder: RunFolder) -> None:
    """Print the figures of a run's heads, and where everything is.

    Raises:
        RunFolderError: a file is missing, damaged, or of another version.
    """
    metrics, data = folder.metrics(), folder.data()
    with faults_told(folder.path):
        figures = metrics["heads"]
        blocks = [(TITLES[name], block) for name, block in figures.items()]
        tables = [_table(figures, data, str(metrics["best_by"]))]
        tables.append(recall_table(blocks, data["classes"], ""))
        tables += scores_tables(blocks, "", metrics["best_by"])
        calibration = calibration_lines(metrics, data["classes"])
    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(table)
    for said in calibration:
        console.print(said, highlight=False)
    show_notices(console, data.get("notices", ()))
    console.say(f"The run folder is {folder.path}")


def show_fitted(console: Console, folder: RunFolder, config: ExperimentConfig) -> bool:
    """If a run already has the heads of a config, show them; return whether it has."""
    if not folder.is_completed() or folder.metrics().get(FITTED_WITH) != head_values(config):
        return False
    console.print(f"{folder.path} already holds these heads; nothing to do.", soft_wrap=True)
    show_heads(console, folder)
    return True


def _table(figures: dict[str, Any], data: Mapping[str, Any], best_by: str) -> Table:
    """Return the figures of network and heads, with the interval of AVG and the paired test."""
    count = next(iter(figures.values()))["n"]
    network = f"best network by validation {best_by.upper()}"
    title = f"Heads on the features of the {network};\n"
    if "network" in figures:
        title = f"The {network} and heads on its features;\n"
    title += f"{count} test images, in percent; 95 %: interval of AVG"
    if "network" in figures:
        title += ";\np: McNemar's exact test of who is right, head against network"
    if data["synthetic"]:
        title += f"\n{SYNTHETIC}"
    if note := overlap_note(data):
        title += f"\n{note}"
    table = new_table(title, "", [*metric_columns(), "95 %", "p"])
    table.caption = OVER
    for name, block in figures.items():
        low, high = block["intervals"]["avg"]
        paired = block.get("against_network")
        table.add_row(
            TITLES[name],
            *metric_cells(block),
            f"{low:.0f}–{high:.0f}",
            "" if paired is None else _p_value(paired["p_value"]),
        )
    return table


def _p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
