"""What ``fedskin show`` knows of a run's model."""

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.showing.model_page import page
from experiments.showing.shown_model import open_shown
from tests.experiments.exporting.exported_runs import finished_run
from training.errors import RunFolderError


def figures_of(right: int) -> dict[str, Any]:
    """Figures of a model that was right about so many images of each class."""
    return {"client_test": {"n": 7 * right, "confusion": np.diag([right] * 7).tolist()}}


@pytest.mark.parametrize(
    "strategy, last, right",
    [
        ("fedavg", figures_of(2), 2),
        ("ditto", {**figures_of(2), "shared": figures_of(3)}, 3),
    ],
)
def test_figures_are_of_the_model_that_is_shown(
    strategy: str, last: dict[str, Any], right: int, tmp_path: Path
) -> None:
    folder = finished_run(tmp_path / "run", strategy=strategy, calibrated=False)
    entries = {"best_round": 1, "rounds": 1, "weights_sha256": ""}
    folder.write_metrics({**entries, "last": last})
    figures = open_shown(folder.path, None, "last").figures
    assert figures is not None
    assert figures.confusion.tolist() == np.diag([right] * 7).tolist()


def test_a_model_that_no_client_sent_is_not_shown(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", strategy="local", calibrated=False)
    with pytest.raises(RunFolderError, match="stay at each client"):
        open_shown(folder.path, None)


def test_the_page_says_which_model_it_is(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    folder.write_metrics({"best_round": 1, "rounds": 1, "weights_sha256": "", "last": {}})
    last = open_shown(folder.path, None, "last")
    found = page(last)
    assert "The run's last model." in html.unescape(found)
    assert "There is a card of the run's best model only." in found
    assert "A model file knows nothing" not in found
    assert "of the network" in found
    head = replace(last, model=replace(last.model, head=folder.path / "heads" / "svm.skops"))
    assert "of the network" not in page(head)
    assert "of the head" in page(head)
