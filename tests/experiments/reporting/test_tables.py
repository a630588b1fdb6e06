"""Tables say the same in Markdown, CSV and LaTeX."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.reporting.campaign_tables import (
    campaign_tables,
    comparison_table,
    published_table,
    rank_table,
    recall_table,
    scores_table,
    traffic_table,
)
from experiments.reporting.comparisons import compare
from experiments.reporting.findings import Findings
from experiments.reporting.statistics import rankings
from experiments.reporting.tables import Table, signed
from tests.experiments.reporting.made_ledger import ledger, row


def table_of(*rows: dict[str, Any]) -> Table:
    (comparison,) = compare(ledger(*rows))
    return comparison_table(comparison)


TWO = [
    row(70, backbone="swin_b", seed=0),
    row(74, backbone="swin_b", seed=1),
    row(71.004, backbone="convnext_t", seed=0),
]


def test_a_cell_is_mean_and_deviation_and_the_best_is_bold() -> None:
    """70 and 74: mean 72, deviation √8 = 2.83; one seed has none."""
    lines = table_of(*TWO).markdown().splitlines()
    assert lines[0] == "## Federated classifier · HAM10000 · FedAvg · SGD"
    header, _, first, second = ([c.strip() for c in r.strip("|").split("|")] for r in lines[2:6])
    assert header == ["backbone", "seeds", "ACC", "BACC", "over", "PRE", "REC", "F1", "AVG", "rank"]
    assert first == [r"convnext\_t", "1", *["71.00"] * 2, "7", *["71.00"] * 4, "2"]
    best = "**72.00 ± 2.83**"
    assert second == [r"swin\_b", "2", *[best] * 2, "7", *[best] * 4, "1"]
    assert lines[7] == "Judged on 1,512 images of the global test set."
    assert lines[9] == "over: how many classes occur; BACC is their mean recall."


def test_equal_as_written_is_equally_best() -> None:
    table = table_of(row(71.001, backbone="swin_b"), row(71.004, backbone="swin_t"))
    assert table.best["AVG"].all()


def test_a_single_row_is_not_called_the_best() -> None:
    assert "**" not in table_of(row(71)).markdown()


def test_a_row_that_is_alone_with_its_unit_is_not_called_the_best() -> None:
    """Images and patients are not compared with each other."""
    rows = [row(71, backbone="swin_t"), row(70, backbone="swin_b")]
    table = table_of(*rows, row(60, backbone="swin_b", unit="patient"))
    assert table.cells["by"].tolist() == ["image", "image", "patient"]
    assert table.best["AVG"].tolist() == [True, False, False]


def test_of_scores_that_are_errors_the_lowest_is_the_best() -> None:
    """A score that is undefined is a dash, and three decimals say that it is not in percent."""
    rows = [row(70, backbone="swin_t", seed=0), row(74, backbone="swin_b", seed=0)]
    for figures, found in zip(
        ((90, 5, 0.3, 0.6, None), (80, 9, 0.4, 0.7, None)), rows, strict=True
    ):
        found |= dict(zip(("auroc", "ece", "brier", "kappa", "mcc"), figures, strict=True))
    (comparison,) = compare(ledger(*rows))
    table = scores_table(comparison)
    shown = ["AUROC", "ECE", "BRIER", "KAPPA", "MCC"]
    assert table.cells[shown].to_numpy().tolist() == [
        ["90.00", "5.00", "0.300", "0.600", "–"],
        ["80.00", "9.00", "0.400", "0.700", "–"],
    ]
    assert table.best[shown].to_numpy().tolist() == [
        [True, True, True, False, False],
        [False, False, False, True, False],
    ]


def test_heads_and_patients_have_columns_of_their_own() -> None:
    rows = [row(70), row(71, model="svm"), row(60, unit="patient"), row(72, model="rf")]
    cells = table_of(*rows).cells
    assert list(cells["model"]) == ["network", "SVM", "Random Forest", "network"]
    assert list(cells["by"]) == ["image", "image", "image", "patient"]


def test_csv_holds_every_digit() -> None:
    found = pd.read_csv(io.StringIO(table_of(*TWO).csv()))
    assert list(found["backbone"]) == ["convnext_t", "swin_b"]
    assert list(found["avg"]) == [71.004, 72]
    assert found["avg_sd"].isna().tolist() == [True, False]
    assert not found["synthetic"].any()


def test_latex_is_escaped() -> None:
    text = table_of(*TWO, row(50, backbone="a&b%c")).latex()
    assert r"\toprule" in text
    assert r"\label{tab:federated-classifier-ham10000-fedavg-sgd}" in text
    assert r"swin\_b & 2 & \textbf{72.00 $\pm$ 2.83}" in text
    assert r"a\&b\%c" in text
    assert "±" not in text
    assert text.count("{") == text.count("}")


def test_recall_is_counted_over_the_seeds_with_melanoma_first() -> None:
    """0 of 3 and 2 of 3 melanomas are 2 of 6; a class of which there is no image is a dash."""

    def seed(number: int, mel: int, **changes: Any) -> dict[str, Any]:
        counts = {"recall.mel": 100 * mel / 3, "support.mel": 3}
        nevi = {"recall.nv": 100.0, "support.nv": 27, "support.df": 0, "recall.df": None}
        return {**row(70, seed=number, **changes), **counts, **nevi}

    none = {"recall.mel": 0.0, "recall.nv": 100.0, "support.nv": 27, "support.mel": 3}
    rows = [seed(0, 0), seed(1, 2), {**row(60, backbone="swin_b"), **none}]
    (comparison,) = compare(ledger(*rows))
    table = recall_table(comparison)
    assert list(table.cells) == ["backbone", "seeds", "mel", "nv"]
    assert table.cells["mel"].tolist() == ["2/6", "0/3"]
    assert table.cells["nv"].tolist() == ["54/54", "27/27"]
    assert table.best["mel"].tolist() == [True, False]
    assert table.numbers["found.mel"].tolist() == [2, 0]


def test_a_trial_that_lost_a_client_is_marked() -> None:
    """In the cell of its seeds and in words below, in every form."""
    said = "client-2: in 1 of 3 rounds"
    lost = row(74, seed=1, complete=False, absences=said, trial="simulate-a_b")
    (comparison,) = compare(ledger(row(70), lost))
    for table in (
        comparison_table(comparison),
        recall_table(comparison),
        traffic_table(comparison),
    ):
        assert table.cells["seeds"].tolist() == ["2 (1 not complete)"]
        assert rf"Not complete: simulate-a\_b: {said}." in table.markdown()
        assert said in table.latex()
        found = pd.read_csv(io.StringIO(table.csv()))
        assert found["not_complete"].tolist() == [1]


def test_synthetic_is_said_in_every_form() -> None:
    table = table_of(row(70, synthetic=True))
    assert "**SYNTHETIC images" in table.markdown()
    assert "SYNTHETIC images" in table.latex()
    assert pd.read_csv(io.StringIO(table.csv()))["synthetic"].all()


def test_ranks_with_the_critical_difference() -> None:
    rows = [
        row(avg, backbone=name, seed=seed)
        for seed in (0, 1)
        for avg, name in ((70, "swin_b"), (71, "swin_t"), (72, "maxvit_t"))
    ]
    (ranking,) = rankings(compare(ledger(*rows)))
    table = rank_table(ranking)
    assert list(table.cells["backbone"]) == ["maxvit_t", "swin_t", "swin_b"]
    assert list(table.cells["mean rank"]) == ["1.00", "2.00", "3.00"]
    # 2.343 · √(3 · 4 / (6 · 2)) = 2.343
    assert "2 blocks, critical difference 2.34" in table.title
    for said in (table.markdown(), table.latex()):
        assert "Blocks on the same test images are not independent" in said


def findings_of(findings: Findings, *rows: dict[str, Any]) -> Findings:
    table = ledger(*rows)
    comparisons = compare(table)
    return replace(findings, table=table, comparisons=comparisons, rankings=rankings(comparisons))


def test_the_studys_figures_beside_ours(findings: Findings) -> None:
    ours = row(81, backbone="convnext_l")
    heads = [
        row(avg, command="heads", backbone="maxvit_t", model=model)
        for avg, model in ((70, "network"), (69.5, "knn"))
    ]
    table = published_table(findings_of(findings, ours, *heads))
    assert table is not None
    found = table.cells.set_index(["backbone", "figure"])
    avg, gain = found.loc[("convnext_l", "AVG")], found.loc[("maxvit_t", "gain of KNN in AVG")]
    # 81 − 81.66, and −0.5 − 15.
    assert tuple(avg[["published", "ours", "difference"]]) == ("81.66", "81.00", "−0.66")
    assert tuple(gain[["published", "ours", "difference"]]) == ("about +15", "−0.50", "−15.50")


def test_on_synthetic_images_there_is_no_difference(findings: Findings) -> None:
    table = published_table(findings_of(findings, row(81, backbone="convnext_l", synthetic=True)))
    assert table is not None
    assert set(table.cells["difference"]) == {"–"}
    assert table.numbers["difference"].isna().all()


def test_without_such_a_setting_there_is_no_table(findings: Findings) -> None:
    assert published_table(findings_of(findings, row(81, backbone="resnet18"))) is None


@pytest.mark.parametrize("value, text", [(1.5, "+1.50"), (-1.5, "−1.50"), (-0.004, "0.00")])
def test_differences_are_signed(value: float, text: str) -> None:
    assert signed(value) == text


def test_a_report_writes_each_table_three_times(campaign: Path, findings: Findings) -> None:
    names = {table.name for table in campaign_tables(findings)}
    assert names == {
        "centralized-clip-brats2019-vit-l-14",
        "centralized-clip-brats2019-vit-l-14-recall",
        "centralized-clip-brats2019-vit-l-14-scores",
        "federated-classifier-ham10000-fedprox-sgd",
        "federated-classifier-ham10000-fedprox-sgd-communication",
        "federated-classifier-ham10000-fedprox-sgd-recall",
        "federated-classifier-ham10000-fedprox-sgd-scores",
        "heads-on-deep-features-ham10000",
        "heads-on-deep-features-ham10000-recall",
        "heads-on-deep-features-ham10000-scores",
        "heads-on-deep-features-ranks-of-the-backbones",
        "published",
    }
    written = {path.name for path in (campaign / "report" / "tables").iterdir()}
    assert written == {f"{name}.{kind}" for name in names for kind in ("md", "csv", "tex")}
