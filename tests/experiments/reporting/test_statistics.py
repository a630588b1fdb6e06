"""Means over seeds, ranks and the critical difference, against numbers by hand."""

import numpy as np
import pandas as pd
import pytest

from experiments.reporting.comparisons import compare
from experiments.reporting.statistics import (
    NoRankTest,
    RankTest,
    rank_blocks,
    rank_test,
    rankings,
    summary,
)
from tests.experiments.reporting.made_ledger import ledger, row


def test_mean_and_standard_deviation_over_seeds() -> None:
    """70, 72 and 77: mean 73, squares of the differences 9 + 1 + 16 = 26, over n − 1 = 2: 13."""
    table = summary(ledger(*(row(avg, seed=s) for s, avg in enumerate((70, 72, 77)))))
    (found,) = table.to_dict("records")
    assert (found["seeds"], found["avg"], found["rank"]) == (3, 73, 1)
    assert found["avg_sd"] == pytest.approx(13**0.5, rel=1e-12)


def test_a_score_that_a_seed_does_not_define_has_no_mean() -> None:
    """Without the seed whose model takes all images for one class, MCC would look better."""
    table = summary(ledger(row(70, seed=0, mcc=0.6), row(30, seed=1, mcc=None)))
    (found,) = table.to_dict("records")
    assert (found["seeds"], found["avg"]) == (2, 50)
    assert np.isnan(found["mcc"])
    assert np.isnan(found["mcc_sd"])


def test_one_seed_has_no_standard_deviation() -> None:
    assert np.isnan(summary(ledger(row(70)))["avg_sd"].item())


def test_ranks_are_by_avg_within_a_unit_and_equal_ones_share() -> None:
    table = ledger(
        row(70, backbone="swin_b"),
        row(80, backbone="swin_b", model="knn"),
        row(70, backbone="convnext_t"),
        row(99, backbone="convnext_t", unit="patient"),
    )
    found = summary(table)
    assert list(zip(found["unit"], found["model"], found["backbone"], strict=True)) == [
        ("image", "network", "convnext_t"),
        ("image", "network", "swin_b"),
        ("image", "knn", "swin_b"),
        ("patient", "network", "convnext_t"),
    ]
    assert list(found["rank"]) == [2.5, 2.5, 1, 1]


def blocks(*rows: list[float], names: str = "abcdefghij") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(names[: len(rows[0])]))


def test_friedman_by_hand() -> None:
    """Three backbones, four blocks, always in the same order.

    Mean ranks are 1, 2, 3; χ² = 12N / (k(k + 1)) · (1 + 4 + 9 − k(k + 1)²/4) = 4 · (14 − 12) = 8,
    and with two degrees of freedom p = e^(−8/2).
    """
    test = rank_test(blocks(*[[90.0, 80.0, 70.0]] * 4))
    assert test.mean_ranks.to_dict() == {"a": 1, "b": 2, "c": 3}
    assert test.p_value == pytest.approx(np.exp(-4), rel=1e-9)
    assert (test.num_blocks, test.left_out) == (4, 0)


@pytest.mark.parametrize("backbones, quantile", [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_has_demsars_quantiles(backbones: int, quantile: float) -> None:
    """Demšar 2006, table 5a, α = 0.05; CD = q √(k(k + 1) / 6N)."""
    rows = np.random.default_rng(0).random((6, backbones)).tolist()
    expected = quantile * (backbones * (backbones + 1) / (6 * 6)) ** 0.5
    assert rank_test(blocks(*rows)).critical_difference == pytest.approx(expected, rel=5e-4)


def test_blocks_that_lack_a_backbone_do_not_count() -> None:
    test = rank_test(blocks([3.0, 2.0, 1.0], [3.0, float("nan"), 1.0], [1.0, 2.0, 3.0]))
    assert (test.num_blocks, test.left_out) == (2, 1)
    assert test.mean_ranks.to_dict() == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    "table, reason",
    [
        (blocks([1.0, 2.0], [1.0, 2.0]), "it takes at least three backbones, not 2"),
        (
            blocks([1.0, 2.0, 3.0], [1.0, 2.0, float("nan")]),
            "1 of 2 blocks hold all 3 backbones, and it takes at least two",
        ),
        (blocks([1.0] * 3, [2.0] * 3), "all backbones have the same figures in every block"),
    ],
)
def test_why_there_is_no_test(table: pd.DataFrame, reason: str) -> None:
    with pytest.raises(NoRankTest, match=reason):
        rank_test(table)


def cliques(*ranks: float, width: float) -> list[tuple[float, float]]:
    series = pd.Series(ranks, index=list("abcdef")[: len(ranks)])
    return RankTest(series, 5, 0, 0.01, width).cliques()


def test_cliques_are_the_longest_runs_that_do_not_differ() -> None:
    assert cliques(1, 2, 3, width=2.5) == [(1, 3)]
    assert cliques(1, 2, 3, width=1.5) == [(1, 2), (2, 3)]
    assert cliques(1, 2, 3, width=0.5) == []
    # The run from 1.5 to 3 lies within that from 1 to 3.
    assert cliques(1, 1.5, 3, 5, width=2) == [(1, 3), (3, 5)]


def test_a_block_is_a_setting_a_model_and_a_seed() -> None:
    table = ledger(
        row(70, strategy="fedavg", seed=0),
        row(71, strategy="fedavg", seed=1),
        row(72, strategy="fedprox", seed=0),
        row(73, strategy="fedavg", seed=0, model="svm"),
        row(74, strategy="fedavg", seed=0, unit="patient"),
        row(75, strategy="fedavg", seed=0, backbone="swin_b"),
    )
    found = rank_blocks(compare(table))
    assert list(found.columns) == ["convnext_t", "swin_b"]
    assert found.index.names == ["setting", "model", "config.seed"]
    assert sorted(found["convnext_t"]) == [70, 71, 72, 73]
    assert found["swin_b"].dropna().tolist() == [75]


def test_each_kind_is_ranked_by_itself() -> None:
    rows = [
        row(avg, backbone=name, strategy=strategy)
        for strategy in ("fedavg", "fedprox")
        for avg, name in ((70, "swin_b"), (71, "swin_t"), (72, "maxvit_t"))
    ]
    heads, federated = sorted(
        rankings(compare(ledger(*rows, row(70, command="heads")))), key=lambda r: r.test is not None
    )
    assert heads.kind == "Heads on deep features"
    assert heads.why_not == "it takes at least three backbones, not 1"
    assert federated.test is not None
    assert federated.test.mean_ranks.index[0] == "maxvit_t"


def test_what_was_never_judged_is_not_ranked() -> None:
    assert rankings(compare(ledger(row(70, test_set="client_test")))) == []
