"""Federated runs with key ``ema-decay``, by both real apps; Flower's processes are left out."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.figures_table import AVERAGE
from experiments.reporting.run_results import read_run_results
from experiments.results import blocks_of
from experiments.trained_model import find_model
from fl_server.federated_run import RunFailed
from fl_server.final_log import final_log_lines
from tests.fl_server.clients_in_memory import ROUNDS, Clients, run_in_memory
from tests.support import assert_same_bits
from training.checkpoint import Checkpoint, Progress
from training.errors import RunFolderError
from training.moving_average import MovingAverage
from training.run_folder import RunFolder
from training.weights import weights_sha256

pytestmark = pytest.mark.usefixtures("flower_run")

DECAY = 0.5


@pytest.fixture(scope="module")
def averaged(
    synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    out = tmp_path_factory.mktemp("averaged") / "run"
    run_in_memory(synthetic_ham, cache, out, ema_decay=DECAY)
    return RunFolder(out)


def test_the_average_of_a_runs_models_is_judged_beside_them(
    averaged: RunFolder,
    synthetic_ham: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Recomputed from the checkpoints of the same run without the key."""
    expected, save = MovingAverage(DECAY), Checkpoint.save

    def spying(self: Checkpoint, progress: Progress, weights: Any = None, *more: Any) -> None:
        if weights is not None:
            expected.add(weights)
        save(self, progress, weights, *more)

    monkeypatch.setattr(Checkpoint, "save", spying)
    plain = run_in_memory(synthetic_ham, cache, tmp_path / "plain")
    assert_same_bits(averaged.checkpoint.average(ROUNDS), expected.weights)
    metrics = averaged.metrics()
    ema = metrics.pop("ema")
    assert metrics == plain  # whatever else a run has is as without the key
    assert ema["weights_sha256"] == weights_sha256(expected.weights)
    assert ema["client_test"]["n"] == metrics["client_test"]["n"]
    assert ema["calibration"].keys() == metrics["calibration"].keys()
    assert ema["global_test"].keys() == metrics["global_test"].keys()
    assert np.sum(ema["validation"]["confusion"]) == metrics["validation"]["n"]
    table, classes = averaged.predictions("ema_global_test"), averaged.manifest()["data"]["classes"]
    right = (table[classes].idxmax(axis=1) == table["label"]).sum()
    assert right == np.trace(ema["global_test"]["confusion"])


def test_a_resumed_run_has_the_same_average(
    averaged: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    refusing = Clients(refuses=ROUNDS)
    with pytest.raises(RunFailed, match="not today"):
        run_in_memory(synthetic_ham, cache, tmp_path / "run", refusing, ema_decay=DECAY)
    metrics = run_in_memory(synthetic_ham, cache, tmp_path / "run", ema_decay=DECAY)
    assert metrics == averaged.metrics()
    found = RunFolder(tmp_path / "run").checkpoint
    assert_same_bits(found.average(ROUNDS), averaged.checkpoint.average(ROUNDS))


def test_tables_have_it(averaged: RunFolder) -> None:
    assert any(line.startswith("  moving average") for line in final_log_lines(averaged))
    metrics = averaged.metrics()
    rows = [block for name, block in blocks_of(metrics) if name == AVERAGE]
    ema = metrics["ema"]
    assert [row["confusion"] for row in rows] == [
        ema[test_set]["confusion"] for test_set in ("client_test", "global_test")
    ]
    named = {test_set.name: test_set for test_set in read_run_results(averaged.path).test_sets}
    for name, block in (
        ("global test set", "global_test"),
        ("clients' test splits, pooled", "client_test"),
    ):
        found = named[f"{name}, moving average"]
        assert found.block == ema[block]
        assert found.histograms is not None


def test_it_can_be_chosen(averaged: RunFolder, tmp_path: Path) -> None:
    found = find_model(averaged.path, None, "ema")
    assert_same_bits(dict(found.load()[0]), averaged.checkpoint.average(ROUNDS))
    assert found.calibration is not None
    assert found.calibration.to_block() == averaged.metrics()["ema"]["calibration"]
    last = find_model(averaged.path, None, "last")
    assert_same_bits(dict(last.load()[0]), averaged.checkpoint.weights(ROUNDS))
    assert last.calibration is None
    shutil.copytree(averaged.path, tmp_path / "run")
    copy = RunFolder(tmp_path / "run")
    copy.write_metrics({k: v for k, v in copy.metrics().items() if k != "ema"})
    with pytest.raises(RunFolderError, match="has no moving average"):
        find_model(copy.path, None, "ema")
