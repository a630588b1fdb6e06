"""Trials of hospitals whose predictions are damaged, or missing in part or all."""

import shutil
from pathlib import Path

import pytest

from experiments.report import write_report
from experiments.reporting.findings import read_findings
from experiments.reporting.hospital_figure import hospital_drawings
from experiments.reporting.hospital_tables import hospital_tables
from experiments.reporting.hospital_trials import OWN, POOLED
from experiments.reporting.hospitals import Hospitals
from tests.experiments.reporting.hospital_campaign import (
    LOSSES,
    write_hospital_campaign,
)


def changed(
    tmp_path: Path, folder: Path, strategy: str, name: str, content: str | None
) -> Hospitals:
    """What is found if a file of the trials of a method is another one, or missing."""
    copy = tmp_path / "campaign"
    shutil.copytree(folder, copy)
    for trial in (copy / "trials").iterdir():
        if f'strategy = "{strategy}"' in (trial / "config.toml").read_text():
            for path in trial.glob(name):
                path.unlink() if content is None else path.write_text(content)
    [found] = read_findings(copy).hospitals
    return found


def test_missing_predictions_are_said_not_guessed(tmp_path: Path, hospital_folder: Path) -> None:
    found = changed(
        tmp_path, hospital_folder, "ditto", "clients/client-0/predictions-test.csv", None
    )
    number = next(n for n, e in enumerate(found.trials.entries) if e.model == OWN)
    assert found.at(number, "north") is None
    assert found.at(number, "south") is not None
    [line] = found.trials.lacking
    assert line.startswith("Ditto, north: predictions-test.csv: cannot be read (No such file")
    assert line.endswith("run its config.toml again (4 trials)")
    assert hospital_drawings(found)


def test_without_a_seed_of_pooled_training_the_distance_is_not_of_the_same_images(
    tmp_path: Path, hospital_folder: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(hospital_folder, copy)
    pooled = [
        trial
        for trial in sorted((copy / "trials").iterdir())
        if 'strategy = "pooled"' in (trial / "config.toml").read_text()
    ]
    (pooled[0] / "clients" / "client-0" / "predictions-test.csv").unlink()
    [found] = read_findings(copy).hospitals
    methods = found.methods
    gone = methods[(methods["model"] == POOLED) & (methods["seeds"] == 1)]
    assert len(gone) == 1, "of two seeds one is left at north"
    of_loss = methods["loss"] == gone["loss"].item()
    assert methods.loc[of_loss & (methods["model"] != POOLED), "apart"].isna().all()
    assert methods.loc[~of_loss & (methods["model"] != POOLED), "apart"].notna().any()


@pytest.mark.parametrize(
    "content, cause",
    [
        ("", ": predictions-test.csv: is not a readable table"),
        ("image_id,label\n1,mel\n", "has not the columns"),
        ("image_id,label,akiec,bcc,bkl,df,mel,nv,vasc\n1,mel,x,0,0,0,0,0,0\n", "than numbers"),
        ("image_id,label,akiec,bcc,bkl,df,mel,nv,vasc\n1,xyz,0,0,0,0,0,0,1\n", "unknown class"),
        ("image_id,label,akiec,bcc,bkl,df,mel,nv,vasc\n1,mel,0,0,0,0,0,0,1\n", "not of the model"),
        ("image_id,label,akiec,bcc,bkl,df,mel,nv,vasc\n", "has no images"),
    ],
)
def test_damaged_predictions_are_said(
    content: str, cause: str, tmp_path: Path, hospital_folder: Path
) -> None:
    name = "clients/client-1/predictions-test.csv"
    found = changed(tmp_path, hospital_folder, "pooled", name, content)
    [line] = found.trials.lacking
    assert cause in line
    assert " again (4 trials)" in line, "what to do about it"


def remove(folder: Path, name: str) -> None:
    """Remove a file of every trial, as in a campaign of an earlier version."""
    for path in folder.glob(f"trials/*/{name}"):
        path.unlink()


def small_campaign(folder: Path) -> None:
    write_hospital_campaign(folder, strategies=("local", "fedavg"), losses=LOSSES[:1], seeds=(0,))


def test_without_any_predictions_the_page_names_them_and_shows_the_rest(tmp_path: Path) -> None:
    small_campaign(tmp_path)
    remove(tmp_path, "**/predictions-*.csv")
    findings = read_findings(tmp_path)
    [found] = findings.hospitals
    assert (found.trials.entries, found.best(), hospital_tables(found)) == ([], None, [])
    assert len(findings.chapters) == 2, "rows nowhere, so they have figures of their own"
    write_report(findings, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    for line in (
        *(f"Local, {name}: predictions-test.csv: cannot" for name in ("north", "south", "west")),
        "FedAvg, global test set: predictions-global_test.csv: cannot be read",
    ):
        assert line in page


def test_a_model_with_answers_on_the_global_test_set_only_has_dashes(tmp_path: Path) -> None:
    """Nobody is said to gain, and nothing is drawn."""
    small_campaign(tmp_path)
    remove(tmp_path, "clients/*/predictions-test.csv")
    findings = read_findings(tmp_path)
    [found] = findings.hospitals
    assert [entry.method for entry in found.trials.entries] == ["FedAvg"]
    assert (found.best(), found.num_tests, hospital_drawings(found)) == (None, 0, [])
    tables = {table.name: table for table in hospital_tables(found)}
    for name in ("mean BACC", "mean AUROC", "worst hospital", "hospitals"):
        assert tables["hospitals-methods"].cells[name].tolist() == ["–"]
    assert tables["hospitals-global"].cells["BACC"].iloc[0] != "–"
    write_report(findings, tmp_path / "report")
    assert "nan" not in (tmp_path / "report" / "tables" / "hospitals-methods.md").read_text()
