"""Centralized runs: one process, the run folder and the exactness of a federated run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from tests.kills import Killed, contents, killed_after
from tests.support import make_config, make_text
from training.centralized_run import CentralizedRun
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.experiment_data import open_central_data, open_test_data
from training.losses import STUDY_LOSSES
from training.metrics import METRIC_NAMES, confusion_matrix, metrics
from training.moving_average import MovingAverage
from training.run_folder import RunFolder
from training.weights import weights_sha256

EPOCHS = 3


@pytest.fixture
def config(synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """Adam, whose state is two moments and a count, on 24 training and 6 validation images."""
    return make_config(
        objective="clip",
        optimizer="adam",
        epochs=EPOCHS,
        data_dir=str(synthetic_ham),
        cache_dir=str(tmp_path_factory.getbasetemp() / "cache"),
    )


def open_run(config: ExperimentConfig, path: Path, **more: Any) -> CentralizedRun:
    folder = RunFolder(path)
    folder.create(config)
    text = make_text(classes=7) if config.objective == "clip" else None
    return CentralizedRun(
        config, folder, open_central_data(config), open_test_data(config), text, **more
    )


def killed_in(epoch: int) -> Callable[[], None]:
    calls = iter(range(1, EPOCHS + 1))

    def count() -> None:
        if next(calls) == epoch:
            raise Killed

    return count


@pytest.mark.parametrize(
    "objective, best_by, best", [("classifier", "loss", min), ("clip", "avg", max)]
)
def test_a_run_leaves_a_complete_folder(
    config: ExperimentConfig,
    tmp_path: Path,
    objective: str,
    best_by: str,
    best: Callable[[list[float]], float],
) -> None:
    config = config.replace(objective=objective, loss=STUDY_LOSSES[objective], best_by=best_by)
    open_run(config, tmp_path).run()
    rounds = RunFolder(tmp_path).rounds()
    assert [record["round"] for record in rounds] == [1, 2, 3]
    assert {record["examples"] for record in rounds} == {24}
    assert {record["validation"]["pooled"]["n"] for record in rounds} == {6}
    final = RunFolder(tmp_path).metrics()
    found = [record["validation"]["pooled"][best_by] for record in rounds]
    assert final["best_round"] == 1 + found.index(best(found))
    assert final["validation"][best_by] == best(found)
    assert final["best_by"] == RunFolder(tmp_path).manifest()["best_by"] == best_by
    for name, block in (("", final), ("last_", final["last"])):
        table = pd.read_csv(tmp_path / f"predictions-{name}global_test.csv")
        labels = table["label"].map(HAM10000_CLASSES.index).to_numpy()
        answers = table[list(HAM10000_CLASSES)].to_numpy(np.float32).argmax(axis=1)
        counted = metrics(confusion_matrix(labels, answers, 7))
        assert {key: block["global_test"][key] for key in METRIC_NAMES} == counted


@pytest.mark.parametrize(
    "optimizer, epochs", [({}, (1, 2)), ({"optimizer": "sgd", "momentum": 0.9}, (2,))]
)
def test_resume_is_exact(
    config: ExperimentConfig, tmp_path: Path, optimizer: dict[str, Any], epochs: tuple[int, ...]
) -> None:
    """Also the optimizer's moments and the files, whichever epoch was the last to finish."""
    config = config.replace(**optimizer)
    open_run(config, tmp_path / "whole").run()
    expected = RunFolder(tmp_path / "whole").metrics()
    for epoch in epochs:
        path = tmp_path / f"killed-{epoch}"
        with pytest.raises(Killed):
            open_run(config, path).run(killed_in(epoch))
        assert not (path / "metrics.json").exists()
        assert len(RunFolder(path).rounds()) == epoch
        resumed = open_run(config, path)
        resumed.run()
        assert RunFolder(path).metrics() == expected


def test_a_kill_after_any_change_of_a_file_changes_no_file(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config = config.replace(epochs=2)
    open_run(config, tmp_path / "first").run()  # fills the cache
    with killed_after() as undisturbed:
        open_run(config, tmp_path / "whole").run()
    expected = contents(tmp_path / "whole")
    for moment in range(undisturbed.done):
        path = tmp_path / f"killed-{moment}"
        with killed_after(moment), pytest.raises(Killed):
            open_run(config, path).run()
        open_run(config, path).run()
        assert contents(path) == expected, moment


@pytest.mark.parametrize(
    "changes",
    [
        {"trainable": "adapter", "augmented_views": 1},
        pytest.param({"trainable": "lora", "backbone": "convnext_t"}, marks=pytest.mark.slow),
    ],
)
def test_resume_of_a_trained_part_is_exact(
    config: ExperimentConfig, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """The base is built again; the run does not continue on another one."""
    config = config.replace(**changes)
    open_run(config, tmp_path / "whole").run()
    path = tmp_path / "killed"
    with pytest.raises(Killed):
        open_run(config, path).run(killed_in(2))
    open_run(config, path).run()
    assert RunFolder(path).metrics() == RunFolder(tmp_path / "whole").metrics()
    names = RunFolder(path).checkpoint.weights(EPOCHS)
    assert all(name.startswith(("head.", "adapter.")) or ".lora_" in name for name in names)
    RunFolder(path).update_manifest(base_sha256="0" * 64)
    with pytest.raises(RunFolderError, match="is not the one that this run began with; restore"):
        open_run(config, path).run()


def test_more_epochs_are_those_of_a_run_that_had_them_from_the_start(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """Interrupted in the first of two, then wanted for three; with momentum, a state of SGD's."""
    config = config.replace(optimizer="sgd", momentum=0.9)
    open_run(config, tmp_path / "whole").run()
    path = tmp_path / "longer"
    with pytest.raises(Killed):
        open_run(config.replace(epochs=EPOCHS - 1), path).run(killed_in(1))
    RunFolder(path).update_manifest(command="clip")
    open_run(config, path).run()
    assert RunFolder(path).metrics() == RunFolder(tmp_path / "whole").metrics()


def test_a_kill_between_the_optimizers_state_and_the_checkpoint_steps_nothing_twice(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of epoch 2 is there, its weights are not: epoch 2 starts again from both of 1."""
    open_run(config, tmp_path / "whole").run()
    path = tmp_path / "killed"
    run = open_run(config, path)
    save = CentralizedRun._save

    def fail_in_epoch_2(self: CentralizedRun, record: Any, *rest: Any) -> None:
        if record["round"] == 2:
            raise Killed
        save(self, record, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(CentralizedRun, "_save", fail_in_epoch_2)
        with pytest.raises(Killed):
            run.run()
    assert len(list((path / "optimizer").iterdir())) == 2
    open_run(config, path).run()
    whole, again = RunFolder(tmp_path / "whole").metrics(), RunFolder(path).metrics()
    assert again["weights_sha256"] == whole["weights_sha256"]


def test_the_watcher_sees_every_batch(config: ExperimentConfig, tmp_path: Path) -> None:
    """24 images in batches of 8."""
    seen: list[tuple[int, int]] = []
    run = open_run(config, tmp_path, watch=lambda done, total: seen.append((done, total)))
    run.run()
    assert seen == [(0, 3), (1, 3), (2, 3)] * EPOCHS


def test_text_is_no_part_of_the_weights(config: ExperimentConfig, tmp_path: Path) -> None:
    open_run(config, tmp_path).run()
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    weights = RunFolder(tmp_path).checkpoint.weights(state["round"])
    assert weights["head.weight"].shape == (16, 256)
    assert not any("text" in name for name in weights)


@pytest.mark.slow
def test_the_moving_average_is_judged_and_exact_after_a_kill(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """Of three epochs with d = 1/2 the weights are 1/7, 2/7 and 4/7; nothing else changes."""
    expected = MovingAverage(0.5)
    plain = open_run(config, tmp_path / "plain")
    plain.run(lambda: expected.add(plain.folder.checkpoint.weights(plain.progress.round)))
    config = config.replace(ema_decay=0.5)
    open_run(config, tmp_path / "whole").run()
    with pytest.raises(Killed):
        open_run(config, tmp_path / "killed").run(killed_in(2))
    open_run(config, tmp_path / "killed").run()
    for name in ("whole", "killed"):
        folder = RunFolder(tmp_path / name)
        found = folder.metrics()
        ema = found.pop("ema")
        assert found == plain.folder.metrics()
        assert ema["weights_sha256"] == weights_sha256(expected.weights)
        assert {"global_test", "calibration", "validation"} <= ema.keys()
        assert len(folder.predictions("ema_global_test")) == ema["global_test"]["n"]


def test_patience_ends_a_run_and_an_interrupted_one_at_the_same_epoch(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """The epochs are those of the run without it; the first is the best if the rate is tiny."""
    config = config.replace(learning_rate=1e-12, epochs=4)
    short = open_run(config.replace(epochs=2), tmp_path / "short")
    short.run()
    config = config.replace(patience=1)
    open_run(config, tmp_path / "ended").run()
    with pytest.raises(Killed):
        open_run(config, tmp_path / "killed").run(killed_in(2))
    open_run(config, tmp_path / "killed").run()
    why = "after epoch 2 of 4: in 1 epoch (patience) no better validation AVG"
    for name in ("ended", "killed"):
        folder = RunFolder(tmp_path / name)
        assert folder.metrics() == short.folder.metrics()
        assert folder.manifest()["ended_early"] == why
    assert short.folder.manifest()["ended_early"] is None
