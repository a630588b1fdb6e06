"""The contents of one run's report, read once from its folder, also while the run goes on."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_partition.datasets import in_naming_order
from experiments.campaigns.trial import text
from experiments.figures_table import OF_SHARED
from models.head_names import HEADS
from training.config import ExperimentConfig
from training.data_description import left_out_name, synthetic_note
from training.head_run import lacks_heads, network_run
from training.head_settings import HEAD_KEYS
from training.lost_run import state_of
from training.participation import absences_of
from training.run_folder import RunFolder
from training.run_state import RunState
from training.score_counts import Answers, Histograms
from training.whole_files import of_this_version, read_object


@dataclass(frozen=True)
class TestSet:
    """What a model answered on some test images.

    Attributes:
        name: of the images, and for a head of the head; unique in a run.
        block: as in ``metrics.json``.
        histograms: of the same images; None if only predicted classes are known.
        own: whether the clients' own models answered, where there is a shared one, too.
    """

    name: str
    block: Mapping[str, Any]
    histograms: Histograms | None
    own: bool = False

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (K, K), true classes in rows."""
        return np.array(self.block["confusion"])


@dataclass(frozen=True)
class RunResults:
    """A run and what it has so far.

    Attributes:
        manifest, rounds: as in the run folder's files.
        metrics: as in ``metrics.json``; empty until the run is completed.
        classes: in the order of the blocks; empty until the images are read.
        test_sets: of the best model and of heads.
    """

    folder: RunFolder
    config: ExperimentConfig
    manifest: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, Any]
    classes: tuple[str, ...]
    test_sets: Sequence[TestSet]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.path.resolve().name

    @property
    def synthetic(self) -> bool:
        """Whether all images are synthetic."""
        return bool(self.manifest.get("data", {}).get("synthetic"))

    @property
    def synthetic_line(self) -> str | None:
        """What is said of synthetic images; None if there are none."""
        return synthetic_note(self.manifest) if "data" in self.manifest else None

    @property
    def deployed(self) -> bool:
        """Whether the images are at hospitals."""
        return self.manifest.get("command") == "run"

    @property
    def unit(self) -> str:
        """``round``, or ``epoch`` of a centralized run."""
        return self.folder.length_key().removesuffix("s")

    @property
    def planned(self) -> int:
        """The number of rounds or epochs."""
        return int(self.config.to_flat()[self.folder.length_key()])

    @property
    def order(self) -> list[str]:
        """The classes in the order of tables."""
        return in_naming_order(self.classes)

    @cached_property
    def absences(self) -> dict[str, str]:
        """What each client missed that missed something."""
        return absences_of(self.metrics)

    @property
    def of_shared_model(self) -> "RunResults":
        """The same without figures of the clients' own models, if there is a shared one, too."""
        if "shared" not in self.metrics:
            return self
        metrics = _of_shared(self.metrics)
        if "ema" in metrics:
            metrics["ema"] = _of_shared(metrics["ema"])
        test_sets = [test_set for test_set in self.test_sets if not test_set.own]
        return replace(self, metrics=metrics, test_sets=test_sets)

    @property
    def state(self) -> str:
        """The run's state in a sentence."""
        said, cause = state_of(self.folder, self.manifest)
        if cause:
            said += f": {cause}"
        if why := self.manifest.get("ended_early"):
            said += f"; ended early, {why}"
        if without := lacks_heads(self.manifest, self.metrics):
            said += f"; {without}"
        return f"{len(self.rounds)} of {self.planned} {self.unit}s are validated; {said}"

    @property
    def again(self) -> str:
        """The command that repeats the run."""
        command = str(self.manifest.get("command", "simulate"))
        if "from" in self.manifest:
            run, flat = network_run(self.folder).path, self.config.to_flat()
            keys = [shlex.quote(f"{key}={text(flat[key])}") for key in HEAD_KEYS]
            return (
                f"fedskin heads --from {shlex.quote(str(run))} -c {' -c '.join(keys)} --out NEW_DIR"
            )
        on = " --on COORDINATOR_DIR" if command == "run" else ""
        config = shlex.quote(str(self.folder.path / "config.toml"))
        return f"fedskin {command}{on} {config} --out NEW_DIR"


def _of_shared(blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**blocks, **blocks["shared"]}.items() if k != "shared"}


def read_run_results(path: Path) -> RunResults:
    """Read a run folder; the run may be going on, or have failed.

    Raises:
        RunFolderError: it is not a run folder, or a file is missing, damaged, or of another
            version.
    """
    folder = RunFolder(path)
    config, manifest = folder.config(), folder.manifest()
    done = manifest.get("status") == RunState.COMPLETED
    metrics = folder.metrics() if done else {}
    data = folder.data() if done else manifest.get("data", {})
    with of_this_version(path / "manifest.json"):
        classes = tuple(data.get("classes", ()))
    with of_this_version(path / "metrics.json"):
        test_sets = list(_test_sets(folder, metrics, classes))
    return RunResults(folder, config, manifest, folder.rounds(), metrics, classes, test_sets)


def answers_of(table: pd.DataFrame, classes: Sequence[str]) -> Answers:
    """Return the answers in a table of predictions."""
    number = {label: index for index, label in enumerate(classes)}
    probabilities = table[list(classes)].to_numpy(dtype=np.float32)

    def numbers(column: str) -> NDArray[np.int64]:
        return np.array([number[label] for label in table[column]], dtype=np.int64)

    chosen = numbers("predicted") if "predicted" in table else None
    return Answers(probabilities, numbers("label"), chosen)


def _test_sets(
    folder: RunFolder, metrics: Mapping[str, Any], classes: Sequence[str]
) -> Iterator[TestSet]:
    """Yield what the best model answered, then its moving average, then the heads."""

    def predicted(name: str, block: Mapping[str, Any], file: str) -> TestSet:
        table = folder.predictions(file)
        with of_this_version(folder.predictions_path(file)):
            counts = answers_of(table, classes).counts()
        return TestSet(name, block, counts.histograms)

    left_out = left_out_name(metrics["left_out"]) if "left_out" in metrics else ""
    models = [("", "", metrics, left_out)]
    if ema := metrics.get("ema"):
        models.append(("ema_", ", moving average", ema, "left out"))
    for prefix, said, blocks, of_left_out in models:
        for name, words in (("global_test", "global test set"), ("left_out", of_left_out)):
            if name in blocks:
                yield predicted(f"{words}{said}", blocks[name], f"{prefix}{name}")
        if "client_test" in blocks and blocks["client_test"]["n"]:
            pooled = _pooled(folder, len(classes), f"{prefix}client_test")
            name = f"clients' test splits, pooled{said}"
            if "shared" in blocks:
                yield TestSet(f"{name}, own models", blocks["client_test"], pooled, own=True)
                yield TestSet(f"{name}{OF_SHARED}", blocks["shared"]["client_test"], None)
            else:
                yield TestSet(name, blocks["client_test"], pooled)
    for head, block in metrics.get("heads", {}).items():
        if head in HEADS:
            yield predicted(f"{head.upper()} on the test set", block, f"heads-{head}")


def _pooled(folder: RunFolder, num_classes: int, test_set: str) -> Histograms | None:
    path = folder.path / "histograms.json"
    kept = read_object(path) if path.is_file() else {}
    with of_this_version(path):
        sent = kept.get(test_set, {}).values()
        found = [Histograms.of_fields(fields, num_classes) for fields in sent]
    parts = [each for each in found if each is not None]
    return sum(parts[1:], parts[0]) if parts else None
