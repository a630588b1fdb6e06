"""The page of one run: in every state, with nothing from a network, and with images only here."""

import math
import os
import re
import shutil
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.report import report_command
from experiments.reporting.run_figures import run_drawings
from experiments.reporting.run_results import answers_of, read_run_results
from experiments.reporting.run_tables import run_tables
from experiments.reporting.thumbnails import SHOWN, misjudged
from experiments.run_list import read_run
from fedskin import load
from tests.generated_campaign import write_campaign
from tests.support import write_rounds
from training.calibration import Calibration, calibrate
from training.config_file import read_config
from training.errors import RunFolderError
from training.predictions import write_predictions
from training.release import test_table as table_of_test_set
from training.run_folder import RunFolder
from training.run_state import RunState
from training.temperature import temperature_losses


@pytest.fixture(scope="module")
def finished(synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federated run with random predictions of the 70 synthetic test images."""
    base = tmp_path_factory.mktemp("report")
    names = write_campaign(base, rounds=3, backbones=["swin_t"])
    path = base / "trials" / next(name for name in names if name.startswith("simulate"))
    config = read_config(path / "config.toml", [f"data-dir={synthetic_ham}"])
    (path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    table = table_of_test_set(config)
    assert table is not None
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), len(table.rows))
    predictions = RunFolder(path).predictions_path("global_test")
    write_predictions(predictions, table.rows, probabilities.astype(np.float32), table.classes)
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    """A copy to change."""
    shutil.copytree(finished, tmp_path / "run", dirs_exist_ok=True)
    return RunFolder(tmp_path / "run")


def page_of(run: RunFolder) -> str:
    report_command(run.path)
    return (run.path / "report" / "index.html").read_text(encoding="utf-8")


def test_the_page_has_all_figures_and_tables_and_loads_nothing(run: RunFolder) -> None:
    page = page_of(run)
    results = read_run_results(run.path)
    figures = {drawing.name for drawing in run_drawings(results)}
    assert figures == {
        *("curves", "updates", "clients", "confusion-1", "confusion-2", "roc", "reliability")
    }
    for name in figures:
        assert (run.path / "report" / "figures" / f"{name}.svg").is_file()
        assert f'href="figures/{name}.svg"' in page
    for table in run_tables(results):
        assert f'id="{table.name}"' in page
    assert "SYNTHETIC" in page
    assert f"fedskin simulate {run.path}/config.toml --out NEW_DIR" in page
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {link for link in linked if re.match(r"[a-z]+:", link)} == {
        link for link in linked if link.startswith("data:")
    }


def test_every_row_of_figures_says_of_which_images_it_is(run: RunFolder) -> None:
    metrics = run.metrics()
    metrics["ema"] = {name: metrics[name] for name in ("client_test", "global_test")}
    metrics["global_test"]["intervals"] = {"acc": [12.0, 34.5], "bacc": None}
    run.write_metrics(metrics)
    of_best = run.path / "predictions-global_test.csv"
    shutil.copy(of_best, run.path / "predictions-ema_global_test.csv")
    table = next(t for t in run_tables(read_run_results(run.path)) if t.name == "figures")
    names = list(table.cells["evaluated on"])
    assert len(set(names)) == len(names)
    assert names[-5:] == [
        *("all clients, pooled", "all clients, pooled, moving average", "global test set"),
        *("global test set, last model", "global test set, moving average"),
    ]
    row = table.numbers.set_index("").loc["global test set"]
    assert (row["acc_low"], row["acc_high"]) == (12.0, 34.5)
    said = "95 % intervals, global test set, by a bootstrap over images: ACC 12.00 – 34.50."
    assert said in table.notes
    assert said in page_of(run)


def give_shared(run: RunFolder) -> dict[str, Any]:
    """Give the clients models of their own: client-1's shared one has ACC 12.34. Return it all."""
    metrics = run.metrics()
    clients = metrics["clients"]
    metrics["shared"] = {
        "client_test": {**metrics["client_test"], "acc": 98.76},
        "clients": {**clients, "client-1": {**clients["client-1"], "acc": 12.34}},
    }
    run.write_metrics(metrics)
    return metrics


def test_the_shared_model_has_rows_beside_the_clients_own(run: RunFolder) -> None:
    before = run_tables(read_run_results(run.path))
    metrics = give_shared(run)
    tables = {table.name: table for table in run_tables(read_run_results(run.path))}
    acc = tables["figures"].cells.set_index("evaluated on")["ACC"]
    assert acc["client-1, shared model"] == "12.34"
    assert acc["all clients, pooled, shared model"] == "98.76"
    assert acc["client-1"] == f"{metrics['clients']['client-1']['acc']:.2f}"
    assert acc.index.is_unique
    assert len(acc) == len(before[0].cells) + len(metrics["clients"]) + 1
    titles = [table.title for table in tables.values() if "By class" in table.title]
    assert titles == [
        *("By class · global test set", "By class · clients' test splits, pooled, own models"),
        "By class · clients' test splits, pooled, shared model",
    ]
    assert "client-1, shared model" in page_of(run)


def test_the_shared_models_prediction_sets_are_in_the_table(run: RunFolder) -> None:
    """FineTune's calibration is of the shared model, so the clients' own have no sets."""
    metrics = give_shared(run)
    del metrics["global_test"]
    results = read_run_results(run.path)
    answers = answers_of(run.predictions("global_test"), results.classes)
    counts = answers.counts(exact=False).histograms
    losses = temperature_losses(answers)
    found = calibrate(counts, losses, num_classes=7, coverage=0.8, missing={})
    metrics["calibration"] = found.to_block()
    metrics["shared"]["client_test"] |= found.blocks(answers)
    run.write_metrics(metrics)
    tables = {table.name: table for table in run_tables(read_run_results(run.path))}
    assert list(tables["sets"].cells["evaluated on"]) == ["all clients, pooled, shared model"]
    assert "On the clients' test splits they hold" in tables["sets"].notes[0]


def test_a_run_without_its_heads_says_so(run: RunFolder) -> None:
    said = "its network is trained, the heads are not fitted yet"
    assert said not in page_of(run)
    run.update_manifest(command="heads")
    assert f"completed; {said}. Figures" in page_of(run)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_test_set_of_one_class_has_no_roc_curve(run: RunFolder) -> None:
    path = run.path / "predictions-global_test.csv"
    table = pd.read_csv(path)
    table["label"] = table["label"].iloc[0]
    table.to_csv(path, index=False)
    (roc,) = (each for each in run_drawings(read_run_results(run.path)) if each.name == "roc")
    assert "all images are of one class" in roc.svg


def test_prediction_sets_have_tables_and_say_what_is_guaranteed(run: RunFolder) -> None:
    """The predictions of the test set stand for the validation images, so that sets cover them."""
    answers = answers_of(run.predictions("global_test"), read_run_results(run.path).classes)
    found = calibrate(
        answers.counts(exact=False).histograms,
        temperature_losses(answers),
        num_classes=7,
        coverage=0.8,
        missing={"client-2": "sends no histograms"},
    )
    metrics = run.metrics()
    metrics["calibration"] = found.to_block()
    metrics["global_test"] |= found.blocks(answers)
    run.write_metrics(metrics)
    tables = {table.name: table for table in run_tables(read_run_results(run.path))}
    row = tables["sets"].numbers.set_index("evaluated on").loc["global test set"]
    assert row["coverage"] >= 80
    assert 1 <= row["size"] < row["size, by class"] + 7
    by_class = tables["sets-1"].numbers
    assert by_class["class"].iloc[0] == "mel"
    assert (by_class["coverage, by class"] >= 80).all()
    assert not tables["sets-1"].notes
    page = page_of(run)
    assert "client-2 sends no histograms: its images are not in the calibration." in page
    assert "it does not hold for another clinic" in page


def test_a_class_in_every_set_is_named_below_its_coverage(run: RunFolder) -> None:
    classes = read_run_results(run.path).classes
    found = Calibration(0.8, (30,) * 7, 2.0, 0.125, (*[0.125] * 6, 0.0))
    metrics = {**run.metrics(), "calibration": found.to_block()}
    metrics["global_test"] |= found.blocks(answers_of(run.predictions("global_test"), classes))
    run.write_metrics(metrics)
    tables = {table.name: table for table in run_tables(read_run_results(run.path))}
    (said,) = tables["sets-1"].notes
    assert said.startswith(f"In every set by class, whatever the image shows: {classes[6]};")


def test_misjudged_images_are_shown_melanoma_first_then_by_certainty(run: RunFolder) -> None:
    results = read_run_results(run.path)
    answers = answers_of(run.predictions("global_test"), results.classes)
    wrong = answers.predicted != answers.labels
    count, shown = misjudged(results)
    assert count == wrong.sum() > SHOWN
    melanomas = wrong & (answers.labels == results.classes.index("mel"))
    assert [one.true == "mel" for one in shown] == [True] * melanomas.sum() + [False] * (
        SHOWN - melanomas.sum()
    )
    others = [one.probability for one in shown if one.true != "mel"]
    assert others == sorted(others, reverse=True)
    assert all(one.source.startswith("data:image/jpeg;base64,") for one in shown)
    assert page_of(run).count("<img ") == SHOWN


def test_images_of_hospitals_are_never_on_a_page(run: RunFolder) -> None:
    run.update_manifest(command="run")
    assert "<img " not in page_of(run)


def test_without_the_images_their_names_are_shown(run: RunFolder) -> None:
    config = read_config(run.path / "config.toml", ["data-dir=/nowhere"])
    (run.path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    page = page_of(run)
    assert "<img " not in page
    assert page.count("not on this machine") == SHOWN


def test_a_run_that_goes_on_has_a_page_of_what_it_has(run: RunFolder) -> None:
    (run.path / "metrics.json").unlink()
    run.update_manifest(status=RunState.RUNNING)
    assert "3 of 3 rounds are validated; running" in page_of(run)
    assert {d.name for d in run_drawings(read_run_results(run.path))} == {"curves", "updates"}
    (run.path / "rounds.jsonl").unlink()
    (run.path / "manifest.json").unlink()
    assert "No round is validated yet" in page_of(run)


def test_a_killed_run_is_lost_on_its_page_as_in_the_list(run: RunFolder) -> None:
    (run.path / "metrics.json").unlink()
    run.update_manifest(status=RunState.RUNNING)
    os.utime(run.path / "manifest.json", (0, 0))
    with run.lock():
        assert read_run_results(run.path).state.endswith("are validated; running")
    said = read_run_results(run.path).state
    listed = read_run(run.path, run.path)
    assert said == f"3 of 3 rounds are validated; lost: {listed.cause}"
    assert listed.state == "lost"
    assert ", lost>" in repr(load(run.path))
    run.update_manifest(command="run")
    os.utime(run.path / "manifest.json", (0, 0))
    assert read_run_results(run.path).state.endswith("running"), "it waits for its coordinator"


def test_the_interval_of_a_class_is_wilsons(run: RunFolder) -> None:
    results = read_run_results(run.path)
    table = next(table for table in run_tables(results) if table.name == "classes-1")
    row = table.numbers.set_index("class").loc["mel"]
    z, n, share = NormalDist().inv_cdf(0.975), row["of"], row["found"] / row["of"]
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert [row["low"], row["high"]] == pytest.approx(
        [100 * (share + z * z / (2 * n) + sign * half) / (1 + z * z / n) for sign in (-1, 1)]
    )
    assert row["low"] < row["sensitivity"] < row["high"]


def test_names_from_outside_are_not_read_as_tex(run: RunFolder) -> None:
    rounds = run.rounds()
    for record in rounds:
        for part in (record["clients"], record["validation"]["clients"]):
            part["x $}$ y <b>"] = part.pop(next(iter(part)))
    write_rounds(run, rounds)
    page = page_of(run)
    assert "x $}$ y &lt;b&gt;" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("manifest", "command"),
    [
        ({"command": "run"}, "fedskin run --on COORDINATOR_DIR {run}/config.toml --out NEW_DIR"),
        (
            {"command": "heads", "from": {"run": "/runs/net", "command": "simulate"}},
            "fedskin heads --from /runs/net -c heads=knn,svm,rf -c ",
        ),
    ],
)
def test_how_to_repeat_it(run: RunFolder, manifest: dict[str, object], command: str) -> None:
    run.update_manifest(**manifest)
    assert read_run_results(run.path).again.startswith(command.format(run=run.path))
    assert read_run_results(run.path).unit == "round"


def test_a_missing_file_is_named(run: RunFolder) -> None:
    (run.path / "predictions-global_test.csv").unlink()
    with pytest.raises(RunFolderError, match=r"predictions-global_test\.csv: cannot be read"):
        report_command(run.path)
    assert not (run.path / "report").exists()


def test_a_run_of_another_version_is_refused(run: RunFolder) -> None:
    metrics = run.metrics()
    del metrics["client_test"]["n"]
    run.write_metrics(metrics)
    with pytest.raises(RunFolderError, match="was written by another version, 'n' is missing"):
        report_command(run.path)
    metrics["client_test"]["n"] = 1
    del metrics["client_test"]["by_class"]
    run.write_metrics(metrics)
    with pytest.raises(RunFolderError, match="another version, 'by_class' is missing"):
        report_command(run.path)
