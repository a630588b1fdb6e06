"""A run that trains on three sources and is judged on the fourth."""

import io
from pathlib import Path

import numpy as np
import pytest

from data_partition.synthetic_ham10000 import write_ham10000
from experiments.console import Console
from experiments.reporting.run_results import read_run_results
from experiments.results import show_results
from experiments.showing.shown_model import open_shown
from fl_server.final_log import final_log_lines
from tests.fl_server.clients_in_memory import run_in_memory
from training.head_run import begin, network_weights
from training.run_folder import RunFolder
from training.score_counts import Answers

pytestmark = pytest.mark.usefixtures("flower_run")


def test_a_source_left_out_is_judged_at_the_end(tmp_path: Path, cache: Path) -> None:
    write_ham10000(tmp_path / "ham", images=60, seed=0)
    out = tmp_path / "run"
    metrics = run_in_memory(
        *(tmp_path / "ham", cache, out),
        partition="source",
        leave_out="vidir_molemax",
        rounds=2,
        ema_decay=0.5,
    )
    folder = RunFolder(out)
    assert not any("vidir_molemax" in client for client in metrics["clients"])
    for prefix, block in (("", metrics["left_out"]), ("last_", metrics["last"]["left_out"])):
        rows = folder.predictions(f"{prefix}left_out")
        classes = folder.manifest()["data"]["classes"]
        labels = np.array([classes.index(label) for label in rows["label"]])
        answers = Answers(rows[classes].to_numpy(dtype=np.float32), labels)
        assert answers.confusion.tolist() == block["confusion"]
        assert (block["source"], block["in_training"]) == ("vidir_molemax", 0)
        assert block["n"] == folder.manifest()["data"]["left_out"]["images"] > 0
    assert metrics["global_test"]["n"] != metrics["left_out"]["n"]
    assert any(line.startswith("left out: vidir_molemax") for line in final_log_lines(folder))
    console = Console(file=io.StringIO(), width=100)
    show_results(console, folder)
    assert "left out: vidir_molemax" in console.file.getvalue()  # type: ignore[attr-defined]
    for model in ("best", "last", "ema"):
        shown = open_shown(out, None, model)
        block = metrics if model == "best" else metrics[model]
        assert shown.figures is not None
        assert shown.figures.confusion.tolist() == block["global_test"]["confusion"]
        assert (shown.card is None) == (model != "best")
    # Heads on the run's network take along what is known of it.
    heads = RunFolder(tmp_path / "heads")
    begin(heads, folder.config(), folder, network_weights(folder, folder))
    heads.update_manifest(status="completed")
    ours = {each.name: each.block for each in read_run_results(heads.path).test_sets}
    theirs = {each.name: each.block for each in read_run_results(out).test_sets}
    assert ours == {name: block for name, block in theirs.items() if "clients" not in name}
    assert len(ours) == 4
