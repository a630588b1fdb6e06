"""The chapter "By hospital": figures of generated trials over three hospitals, whose answers are
right in 30 % alone, 50 % with the shared model, 70 % with a personal one and 90 % pooled."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.report import write_report
from experiments.reporting import hospitals as module
from experiments.reporting.findings import Findings, read_findings
from experiments.reporting.hospital_answers import read_hospital_trials
from experiments.reporting.hospital_chapter import hospital_chapter
from experiments.reporting.hospital_figure import hospital_drawings
from experiments.reporting.hospital_tables import hospital_tables
from experiments.reporting.hospital_trials import ALONE, OWN, POOLED, SHARED
from experiments.reporting.hospitals import Hospitals
from tests.experiments.reporting.hospital_campaign import (
    LABELS,
    LOSSES,
    write_hospital_campaign,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hospitals") / "campaign"
    write_hospital_campaign(path)
    return path


@pytest.fixture(scope="module")
def findings(folder: Path) -> Findings:
    return read_findings(folder)


@pytest.fixture(scope="module")
def hospitals(findings: Findings) -> Hospitals:
    [found] = findings.hospitals
    return found


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


def test_what_differs_names_the_groups_of_trials(folder: Path, findings: Findings) -> None:
    """Also their tables and figures, so one knows which file is which."""
    table = findings.table
    table = table.assign(**{"config.trainable": np.where(table["config.seed"] == 0, "all", "head")})
    groups = read_hospital_trials(table, findings.records, folder)
    assert [group.title for group in groups] == ["trainable all", "trainable head"]
    names = [group.name for group in groups]
    assert names == ["hospitals-trainable-all", "hospitals-trainable-head"]


def test_figures_are_the_ledgers(findings: Findings, hospitals: Hospitals) -> None:
    """ACC of equally many images each seed is the mean of the seeds' ACC."""
    number = next(n for n, e in enumerate(hospitals.trials.entries) if e.model == POOLED)
    trials = hospitals.entry(number).trials.values()
    rows = findings.table[findings.table["trial"].isin(trials)]
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


def test_the_page_has_the_chapter_instead_of_one_for_each_method(folder: Path) -> None:
    findings = read_findings(folder)
    assert (len(findings.comparisons), findings.chapters) == (4 * len(LOSSES), [])
    write_report(findings, folder / "report")
    page = (folder / "report" / "index.html").read_text()
    assert page.index("hospitals gain over training alone") < page.index('<section id="results">')
    assert "hospitals-dumbbell.svg" in page
    files = {path.name for path in (folder / "report").rglob("*.*")}
    for table in hospital_tables(findings.hospitals[0]):
        assert {f"{table.name}.{suffix}" for suffix in ("csv", "md", "tex")} <= files
    assert {"hospitals-dumbbell.svg", "hospitals-dumbbell.png"} <= files
    numbers = pd.read_csv(folder / "report" / "tables" / "hospitals-gain-balanced.csv")
    assert len(numbers) == 3 * 3
    assert not numbers[numbers["model"] != POOLED].isna().any(axis=None)


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


def test_the_best_is_chosen_by_validation(tmp_path: Path, folder: Path) -> None:
    """Ditto's personal models have the best test figures, and FedAvg's the best validation."""
    assert shutil.copytree(folder, tmp_path / "campaign")
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


def test_a_mean_over_fewer_hospitals_is_not_compared(tmp_path: Path, folder: Path) -> None:
    """A round that a client missed, or was not asked in, validates the others only."""
    assert shutil.copytree(folder, tmp_path / "campaign")
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


def test_hospitals_that_lose_are_counted_and_told(tmp_path: Path, folder: Path) -> None:
    """Where training alone is best, the answer is not how few gain."""
    assert shutil.copytree(folder, tmp_path / "campaign")
    [found] = read_findings(tmp_path / "campaign").hospitals
    rows = found.methods.assign(gains=1, sure_gains=0, losses=2, sure_losses=1)
    found.__dict__["methods"] = rows  # in place of what is computed when it is first asked for
    said = hospital_chapter(found)["headline"]
    assert said.startswith("1 of 3 hospitals gain over training alone with Ditto (personal models)")
    assert said.endswith("none of them significantly; 2 lose, 1 of them significantly.")
    [table] = [t for t in hospital_tables(found) if t.name == "hospitals-summary"]
    assert "1 gain (0 significant), 2 lose (1 significant)" in set(table.cells["hospitals"])


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


def test_missing_predictions_are_said_not_guessed(tmp_path: Path, folder: Path) -> None:
    found = changed(tmp_path, folder, "ditto", "clients/client-0/predictions-test.csv", None)
    number = next(n for n, e in enumerate(found.trials.entries) if e.model == OWN)
    assert found.at(number, "north") is None
    assert found.at(number, "south") is not None
    [line] = found.trials.lacking
    assert line.startswith("Ditto, north: predictions-test.csv: cannot be read (No such file")
    assert line.endswith("run its config.toml again (4 trials)")
    assert hospital_drawings(found)


def test_without_a_seed_of_pooled_training_the_distance_is_not_of_the_same_images(
    tmp_path: Path, folder: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
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
    content: str, cause: str, tmp_path: Path, folder: Path
) -> None:
    name = "clients/client-1/predictions-test.csv"
    found = changed(tmp_path, folder, "pooled", name, content)
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


def test_trials_with_other_reference_images_are_judged_apart(
    findings: Findings, folder: Path
) -> None:
    table = findings.table
    folders = np.where(table["config.seed"] == 0, "/a", "/b")
    table = table.assign(**{"config.alignment": "mmd", "config.reference-dir": folders})
    groups = read_hospital_trials(table, findings.records, folder)
    assert [group.title for group in groups] == ["reference-dir /a", "reference-dir /b"]


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
