"""Figures by hospital: of generated trials over three of them, whose answers are right in 30 %
alone, 50 % with the shared model, 70 % with a personal one and 90 % pooled.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.reporting import hospitals as module
from experiments.reporting.findings import Findings, read_findings
from experiments.reporting.hospital_answers import read_hospital_trials
from experiments.reporting.hospital_chapter import hospital_chapter
from experiments.reporting.hospital_tables import hospital_tables
from experiments.reporting.hospital_trials import ALONE, OWN, POOLED, SHARED
from experiments.reporting.hospitals import Hospitals
from tests.experiments.reporting.hospital_campaign import (
    LABELS,
    LOSSES,
    write_hospital_campaign,
)


def test_a_row_for_each_model_that_means_something(hospitals: Hospitals) -> None:
    """Ditto's shared model is made as FedAvg's, and nobody trained that of Local."""
    rows = [(e.method, e.model) for e in hospitals.trials.entries if e.loss == "balanced"]
    assert rows == [
        ("Local", ALONE),
        ("FedAvg", SHARED),
        ("Ditto", OWN),
        ("Pooled", POOLED),
    ]
    assert hospitals.trials.losses == list(LOSSES)
    assert hospitals.trials.hospitals == ["north", "south", "west"]
    assert all(set(entry.trials) == {0, 1} for entry in hospitals.trials.entries)


def test_what_differs_names_the_groups_of_trials(
    hospital_folder: Path, hospital_findings: Findings
) -> None:
    """Also their tables and figures, so one knows which file is which."""
    table = hospital_findings.table
    table = table.assign(**{"config.trainable": np.where(table["config.seed"] == 0, "all", "head")})
    groups = read_hospital_trials(table, hospital_findings.records, hospital_folder)
    assert [group.title for group in groups] == ["trainable all", "trainable head"]
    names = [group.name for group in groups]
    assert names == ["hospitals-trainable-all", "hospitals-trainable-head"]


def test_figures_are_the_ledgers(hospital_findings: Findings, hospitals: Hospitals) -> None:
    """ACC of equally many images each seed is the mean of the seeds' ACC."""
    number = next(n for n, e in enumerate(hospitals.trials.entries) if e.model == POOLED)
    trials = hospitals.entry(number).trials.values()
    rows = hospital_findings.table[hospital_findings.table["trial"].isin(trials)]
    for client, row in zip(hospitals.trials.hospitals, range(3), strict=True):
        ledger = rows[rows["test_set"] == f"client-{row} ({client})"]["acc"]
        found = hospitals.at(number, client)
        assert found is not None
        assert found["acc"] == pytest.approx(ledger.mean(), abs=1e-4)
        for score in ("bacc", "auroc"):
            assert found[f"{score}_low"] < found[score] < found[f"{score}_high"]


def test_gains_are_over_being_alone_with_the_same_loss(hospitals: Hospitals) -> None:
    figures = hospitals.figures.set_index(["loss", "method", "model", "hospital"])["bacc"]
    for row in hospitals.figures.itertuples():
        if row.model == ALONE:
            assert pd.isna(row.gain)
        else:
            alone = figures[row.loss, "Local", ALONE, row.hospital]
            assert row.gain == pytest.approx(row.bacc - alone, abs=1e-3)
        # The ceiling is not a choice, so it is not tested.
        assert pd.isna(row.p_value) == (row.model in (ALONE, POOLED))
    assert hospitals.num_tests == 3 * 2 * len(LOSSES)


def test_too_few_melanomas_are_said(hospitals: Hospitals) -> None:
    """There are 12 of them in each test set; without some of them 9 are too few."""
    assert hospitals.positive == "mel"
    assert (hospitals.tests["positives"] == 12).all()
    tests = hospitals.tests.assign(positives=[9.0, 12, 12, 12])
    few = replace(hospitals, tests=tests)
    [table] = [t for t in hospital_tables(few) if t.name == "hospitals-sensitivity-balanced"]
    assert set(table.cells["north (n = 9)"]) == {"–"}
    assert any("north 9.0" in note for note in table.notes)


def test_the_global_test_set_has_lesions_too(hospitals: Hospitals) -> None:
    rows = hospitals.global_figures
    assert set(rows["model"]) == {SHARED, POOLED}
    assert (rows["bacc_low"] < rows["bacc_high"]).all()
    about = hospitals.tests.loc["global test set"]
    assert (about["images"], about["lesions"]) == (len(LABELS), (len(LABELS) + 1) // 2)


def test_gains_on_the_global_test_set_are_over_fedavg(hospitals: Hospitals) -> None:
    """Ditto's model for all would be FedAvg's; pooled is the ceiling and not tested."""
    rows = hospitals.global_figures.set_index(["method", "loss"])
    for loss in LOSSES:
        default, pooled = (rows.loc[name, loss] for name in ("FedAvg", "Pooled"))
        assert pd.isna(default["gain"])
        assert pooled["gain"] == pytest.approx(pooled["bacc"] - default["bacc"], abs=1e-3)
        assert pd.isna(pooled["p_value"])
    [table] = [t for t in hospital_tables(hospitals) if t.name == "hospitals-global"]
    assert table.cells["gain over FedAvg"].iloc[0] == "–"
    assert "not tested, since no hospital can choose pooled training" in table.notes[1]


def test_the_best_is_chosen_by_validation(tmp_path: Path, hospital_folder: Path) -> None:
    """Ditto's personal models have the best test figures, and FedAvg's the best validation."""
    assert shutil.copytree(hospital_folder, tmp_path / "campaign")
    for trial in (tmp_path / "campaign" / "trials").iterdir():
        if 'strategy = "fedavg"' in (trial / "config.toml").read_text():
            record = json.loads((trial / "rounds.jsonl").read_text())
            for block in record["validation"]["clients"].values():
                block["bacc"] = 99.0
            (trial / "rounds.jsonl").write_text(json.dumps(record) + "\n")
    [found] = read_findings(tmp_path / "campaign").hospitals
    best = found.best()
    assert best is not None
    assert found.methods["mean"].idxmax() != best
    assert (found.entry(best).method, found.methods["validated"].iloc[best]) == ("FedAvg", 99.0)
    chapter = hospital_chapter(found)
    assert "over training alone with FedAvg (the global model)" in chapter["headline"]
    assert any("validation images (99.0), not by these" in line for line in chapter["further"])


def test_of_several_ways_to_be_alone_validation_chooses(hospitals: Hospitals) -> None:
    """Test images, with which the gain is then computed, would make gains smaller than they are."""
    trials = hospitals.trials
    number, alone = next((n, e) for n, e in enumerate(trials.entries) if e.model == ALONE)
    joined = next(n for n, e in enumerate(trials.entries) if (e.loss, e.model) == (alone.loss, OWN))
    for bacc, chosen in ((99.0, len(trials.entries)), (1.0, number)):
        faster = replace(alone, method="Local, learning rate 0.5", trials={0: "a", 1: "b"})
        more = replace(
            trials,
            entries=[*trials.entries, faster],
            validated={**trials.validated, "a": bacc, "b": bacc},
        )
        assert module._other(more, joined, [number, len(trials.entries)]) == chosen


def test_a_setting_of_more_seeds_without_validation_hides_no_other(hospitals: Hospitals) -> None:
    """As FineTune's personal models in a campaign that goes on."""
    found = replace(hospitals)
    rows = hospitals.methods.copy()
    own = rows["model"] == OWN
    rows.loc[own, ["validated", "seeds"]] = [np.nan, 9]
    found.__dict__["methods"] = rows  # in place of what is computed when it is first asked for
    best = found.best()
    assert best is not None
    assert found.entry(best).method == "FedAvg"


def test_without_fedavg_the_shared_model_is_dittos(tmp_path: Path) -> None:
    write_hospital_campaign(tmp_path, strategies=("local", "ditto"), losses=LOSSES[:1], seeds=(0,))
    [found] = read_findings(tmp_path).hospitals
    assert [(e.method, e.model, e.validated) for e in found.trials.entries] == [
        ("Local", ALONE, True),
        ("Ditto", SHARED, False),
        ("Ditto", OWN, True),
    ]


def test_a_mean_over_fewer_hospitals_is_not_compared(tmp_path: Path, hospital_folder: Path) -> None:
    """A round that a client missed, or was not asked in, validates the others only."""
    assert shutil.copytree(hospital_folder, tmp_path / "campaign")
    for trial in (tmp_path / "campaign" / "trials").iterdir():
        if 'strategy = "ditto"' in (trial / "config.toml").read_text():
            record = json.loads((trial / "rounds.jsonl").read_text())
            del record["validation"]["clients"]["client-1 (south)"]
            (trial / "rounds.jsonl").write_text(json.dumps(record) + "\n")
    [found] = read_findings(tmp_path / "campaign").hospitals
    best = found.best()
    assert best is not None
    assert found.entry(best).method == "FedAvg"


def test_models_that_answer_alike_are_one(tmp_path: Path) -> None:
    """With none to hold off, MultiKrum is FedAvg: one row, tested once."""
    strategies = ("local", "fedavg", "multikrum", "median")
    write_hospital_campaign(tmp_path, strategies=strategies, losses=LOSSES[:1], seeds=(0, 1))
    [found] = read_findings(tmp_path).hospitals
    assert [e.method for e in found.trials.entries] == ["Local", "FedAvg = MultiKrum", "Median"]
    assert found.num_tests == 3 * 2
    assert list(found.global_figures["method"]) == ["FedAvg = MultiKrum", "Median"]
    assert found.trials.entries[1].default


def test_the_distance_to_pooled_training_has_an_interval(hospitals: Hospitals) -> None:
    """Paired: a lesion is drawn for both, so it is narrower than the two intervals together."""
    methods = hospitals.methods
    for row in methods.itertuples():
        if row.model == POOLED:
            assert pd.isna(row.apart)
            continue
        pooled = methods[(methods["loss"] == row.loss) & (methods["model"] == POOLED)].iloc[0]
        assert row.apart == pytest.approx(row.mean - pooled["mean"])
        assert row.mean_low < row.mean < row.mean_high
        assert row.apart_low < row.apart < row.apart_high
        widths = row.mean_high - row.mean_low + pooled["mean_high"] - pooled["mean_low"]
        assert row.apart_high - row.apart_low < widths


def test_trials_with_other_reference_images_are_judged_apart(
    hospital_findings: Findings, hospital_folder: Path
) -> None:
    table = hospital_findings.table
    folders = np.where(table["config.seed"] == 0, "/a", "/b")
    table = table.assign(**{"config.alignment": "mmd", "config.reference-dir": folders})
    groups = read_hospital_trials(table, hospital_findings.records, hospital_folder)
    assert [group.title for group in groups] == ["reference-dir /a", "reference-dir /b"]
