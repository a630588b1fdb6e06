"""The chapter "By hospital": what it says in words, and where the page has it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments.report import write_report
from experiments.reporting.findings import read_findings
from experiments.reporting.hospital_chapter import hospital_chapter
from experiments.reporting.hospital_tables import hospital_tables
from experiments.reporting.hospital_trials import ALONE, OWN, POOLED
from experiments.reporting.hospitals import Hospitals
from tests.experiments.reporting.hospital_campaign import (
    LOSSES,
    write_hospital_campaign,
)


def test_the_answer_in_words(hospitals: Hospitals) -> None:
    chapter = hospital_chapter(hospitals)
    assert chapter["headline"].startswith(
        "3 of 3 hospitals gain over training alone with Ditto (personal"
    )
    assert chapter["headline"].endswith("3 of them significantly.")
    assert [line.partition(":")[0] for line in chapter["hospitals"]] != []
    assert all(" gains " in line and "; significant, p " in line for line in chapter["hospitals"])
    assert any("worse than training on everybody's images" in line for line in chapter["further"])
    assert (chapter["leaks"][1:], chapter["lost"], chapter["lacking"]) == ([], [], [])
    assert "split-by = image" in chapter["leaks"][0]


def test_the_page_has_the_chapter_instead_of_one_for_each_method(hospital_folder: Path) -> None:
    findings = read_findings(hospital_folder)
    assert (len(findings.comparisons), findings.chapters) == (4 * len(LOSSES), [])
    write_report(findings, hospital_folder / "report")
    page = (hospital_folder / "report" / "index.html").read_text()
    assert page.index("hospitals gain over training alone") < page.index('<section id="results">')
    assert "hospitals-dumbbell.svg" in page
    files = {path.name for path in (hospital_folder / "report").rglob("*.*")}
    for table in hospital_tables(findings.hospitals[0]):
        assert {f"{table.name}.{suffix}" for suffix in ("csv", "md", "tex")} <= files
    assert {"hospitals-dumbbell.svg", "hospitals-dumbbell.png"} <= files
    numbers = pd.read_csv(hospital_folder / "report" / "tables" / "hospitals-gain-balanced.csv")
    assert len(numbers) == 3 * 3
    assert not numbers[numbers["model"] != POOLED].isna().any(axis=None)


def test_hospitals_that_lose_are_counted_and_told(tmp_path: Path, hospital_folder: Path) -> None:
    """Where training alone is best, the answer is not how few gain."""
    assert shutil.copytree(hospital_folder, tmp_path / "campaign")
    [found] = read_findings(tmp_path / "campaign").hospitals
    rows = found.methods.assign(gains=1, sure_gains=0, losses=2, sure_losses=1)
    found.__dict__["methods"] = rows  # in place of what is computed when it is first asked for
    said = hospital_chapter(found)["headline"]
    assert said.startswith("1 of 3 hospitals gain over training alone with Ditto (personal models)")
    assert said.endswith("none of them significantly; 2 lose, 1 of them significantly.")
    [table] = [t for t in hospital_tables(found) if t.name == "hospitals-summary"]
    assert "1 gain (0 significant), 2 lose (1 significant)" in set(table.cells["hospitals"])


def test_no_difference_is_neither_better_nor_worse(hospitals: Hospitals) -> None:
    """The best is as good as pooled training, and 0.2 points better than the best alone."""
    rows = hospitals.methods.copy()
    rows.loc[rows["model"].isin([OWN, POOLED]), "mean"] = [70.0, 70.04, 70.0, 70.04]
    rows.loc[rows["model"] == ALONE, "mean"] = 69.8
    found = replace(hospitals)
    found.__dict__["methods"] = rows  # in place of what is computed when it is first asked for
    said = " ".join(hospital_chapter(found)["further"])
    assert "70.0, as good as training on everybody's images" in said
    assert "the federation is 0.2 points better than that." in said


def test_without_trials_alone_there_is_no_chapter(tmp_path: Path) -> None:
    write_hospital_campaign(tmp_path, strategies=("fedavg", "ditto"), losses=LOSSES[:1], seeds=(0,))
    assert read_findings(tmp_path).hospitals == []


@pytest.mark.parametrize("split", ["random", "lesion-clean"])
def test_only_what_divides_lesions_is_called_a_leak(tmp_path: Path, split: str) -> None:
    """``lesion-clean`` divides none, whatever ``split-by`` says. Of the global test set, and not of
    the hospitals' images, it is unknown which are of one lesion.
    """
    write_hospital_campaign(
        tmp_path, strategies=("local", "fedavg"), losses=LOSSES[:1], seeds=(0,), split=split
    )
    for path in tmp_path.glob("trials/*/predictions-global_test.csv"):
        pd.read_csv(path).drop(columns="lesion_id").to_csv(path, index=False)
    divided, *unknown = hospital_chapter(read_findings(tmp_path).hospitals[0])["leaks"]
    if split == "lesion-clean":
        unknown = [divided]
    else:
        assert "split-by = image" in divided
    assert unknown == [
        "Which images of the global test set are of one lesion is not known, so intervals may be "
        "too narrow"
    ]


def test_a_lost_client_and_a_leak_stand_on_top(tmp_path: Path) -> None:
    write_hospital_campaign(tmp_path, strategies=("local", "fedavg"), losses=LOSSES[:1], seeds=(0,))
    for trial in (tmp_path / "trials").iterdir():
        metrics = json.loads((trial / "metrics.json").read_text())
        metrics["participation"]["client-2 (west)"] = 0
        (trial / "metrics.json").write_text(json.dumps(metrics))
        manifest = json.loads((trial / "manifest.json").read_text())
        manifest["data"]["overlap"]["in_training"] = 17
        manifest["data"]["copies"]["straddling"] = 3
        (trial / "manifest.json").write_text(json.dumps(manifest))
    findings = read_findings(tmp_path)
    chapter = hospital_chapter(findings.hospitals[0])
    assert "17 images of the global test set are also in training" in chapter["leaks"]
    assert "3 images with identical pixels are in several splits" in chapter["leaks"]
    assert len(chapter["lost"]) == 2
    assert "client-2 (west): in 0 of 1 rounds" in chapter["lost"][0]
    write_report(findings, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.index("not complete") < page.index("also in training") < page.index("gain over")
