"""A run that trains on three sources and is judged on the fourth."""

import io
from pathlib import Path

import numpy as np
import pytest

from data_partition.synthetic import write_ham10000
from experiments.console import Console
from experiments.results import show_results
from fl_server.final_log import final_log_lines
from tests.fl_server.clients_in_memory import run_in_memory
from training.run_folder import RunFolder
from training.score_counts import Answers

pytestmark = pytest.mark.usefixtures("flower_run")


def test_a_source_left_out_is_judged_at_the_end(tmp_path: Path, cache: Path) -> None:
    write_ham10000(tmp_path / "ham", images=60, seed=0)
    out = tmp_path / "run"
    metrics = run_in_memory(
        *(tmp_path / "ham", cache, out), partition="source", leave_out="vidir_molemax", rounds=2
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
