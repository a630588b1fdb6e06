"""A key's values side by side: pairs, means, intervals and tests, against numbers by hand."""

import math
from itertools import product
from typing import Any

import pandas as pd
import pytest

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.contrast_figures import draw_contrast, draw_contrast_curves
from experiments.reporting.contrast_tables import contrast_tables
from experiments.reporting.contrasts import Contrast, contrasts
from experiments.reporting.statistics import holm
from tests.experiments.reporting.made_ledger import ledger, row
from training.config import ExperimentConfig
from training.study import FOLLOWING, chosen, resolve

CURVE = pd.DataFrame(
    {"train_loss": [2.0, 1.0], "validation_loss": [2.0, 1.0], "validation_avg": [40.0, 50.0]},
    index=[1, 2],
)


def found(*rows: dict[str, Any], staying: str = "") -> list[Contrast]:
    """The contrasts of some rows, each a trial of its own unless they name it.

    Args:
        staying: the method whose arrays stay at the clients.
    """
    for number, one in enumerate(rows):
        one["trial"] = one["trial"] if "same" in one["trial"] else f"trial-{number:02}"
    table = ledger(*rows)
    keys = {
        one["trial"]: {k.removeprefix("config."): v for k, v in one.items() if "config." in k}
        for one in rows
    }
    local = {trial: int(of["strategy"] == staying) for trial, of in keys.items()}
    return contrasts(
        table, {t: TrialRecord(k, CURVE, [], {}, local_arrays=local[t]) for t, k in keys.items()}
    )


def strategies(*pairs: tuple[float, float], **keys: Any) -> list[dict[str, Any]]:
    """FedAvg and FedProx, with a seed for each pair of figures."""
    return [
        row(avg, strategy=strategy, seed=seed, **keys)
        for seed, pair in enumerate(pairs)
        for strategy, avg in zip(("fedavg", "fedprox"), pair, strict=True)
    ]


def test_the_documentations_own_example_has_both_side_by_side() -> None:
    (contrast,) = found(*strategies((70, 72), (71, 75)))
    assert contrast.title == "By strategy · Federated classifier · HAM10000"
    assert contrast.values == ["FedAvg", "FedProx"]
    assert contrast.side_by_side("avg").to_numpy().tolist() == [[70, 72], [71, 75]]
    assert list(contrast.blocks.values()) == ["seed 0", "seed 1"]
    means, differences, blocks = contrast_tables(contrast)
    assert means.cells["AVG"].tolist() == ["70.50", "73.50"]
    assert means.best["AVG"].tolist() == [False, True]
    assert differences.cells["strategy"].tolist() == ["FedProx − FedAvg"]
    assert blocks.cells["FedProx"].tolist() == ["72.00", "75.00"]


def test_methods_whose_clients_keep_models_are_named_below_the_tables() -> None:
    """Ditto is judged by its shared model; of Local no model is, so it is in no table."""
    (contrast,) = found(*strategies((70, 72)))
    assert contrast.notes == []
    alone = row(60, strategy="local", test_set="client_test")
    brains = row(60, strategy="fedper", test_set="client_test", dataset="brats2019")
    rows = [*strategies((70, 72)), row(70, strategy="ditto", seed=0), alone, brains]
    (contrast,) = found(*rows, staying="local")
    shared, left_out = contrast.notes
    assert shared.startswith("Ditto: the figures are of the shared model, which alone is judged")
    assert left_out.startswith("Left out, since arrays stay at the clients")
    assert left_out.endswith(": Local.")
    for table in contrast_tables(contrast):
        assert {shared, left_out} <= set(table.notes)


def test_the_mean_difference_and_its_interval_by_hand() -> None:
    """Differences 2 and 4: mean 3, deviation √2, t(0.975, 1) = 12.706: 3 ± 12.706 · √2/√2."""
    (contrast,) = found(*strategies((70, 72), (71, 75)))
    (test,) = contrast.tests()
    assert test.means["avg"] == pytest.approx((3, 3 - 12.7062, 3 + 12.7062), abs=1e-4)
    assert math.isnan(test.p_value), "too few pairs"
    assert "fewer than 6 pairs" in contrast_tables(contrast)[1].notes[1]


def test_one_pair_has_no_interval() -> None:
    (contrast,) = found(*strategies((70, 72)))
    (test,) = contrast.tests()
    assert test.means["avg"][0] == 2
    assert all(math.isnan(end) for end in test.means["avg"][1:])
    assert contrast_tables(contrast)[1].cells["AVG"].tolist() == ["+2.00"]


def test_a_value_that_follows_is_shown_as_what_it_is_and_the_default_is_first() -> None:
    """The ledger has the resolved loss, the settings that it was left open."""
    rows = [row(70, loss="cross-entropy"), row(71, loss="balanced", strategy="fedavg")]
    rows += [row(72, loss="balanced", strategy="ditto"), row(73, strategy="ditto")]
    for one, loss in zip(rows, ("auto", "balanced", "balanced", "auto"), strict=True):
        one["trial"] = f"same-{loss}-{one['config.strategy']}"
    table = ledger(*rows)
    records = {
        one["trial"]: TrialRecord(
            {"strategy": one["config.strategy"], **dict.fromkeys(FOLLOWING, 0), "loss": loss},
            CURVE,
            [],
            {},
        )
        for one, loss in zip(rows, ("auto", "balanced", "balanced", "auto"), strict=True)
    }
    values = {contrast.key: contrast.values for contrast in contrasts(table, records)}
    assert values == {"strategy": ["FedAvg", "Ditto"], "loss": ["balanced", "cross-entropy"]}


def test_six_pairs_of_one_sign_are_the_fewest_with_a_small_p() -> None:
    """Of 2^6 signs two are as extreme: p = 2/64. A pair without a difference does not count."""
    pairs = [(70.0, 70.5 + number) for number in range(6)]
    (contrast,) = found(*strategies(*pairs))
    assert contrast.tests()[0].p_value == pytest.approx(2 / 64)
    (contrast,) = found(*strategies(*pairs[:5], (70, 70)))
    assert math.isnan(contrast.tests()[0].p_value)


def test_pairs_share_the_backbone_and_every_other_key() -> None:
    (contrast,) = found(
        *strategies((70, 72)),
        row(80, backbone="swin_b", strategy="fedavg", seed=5),
        row(90, strategy="fedprox", rounds=9, seed=6),
    )
    assert contrast.key == "strategy", "backbone, rounds and seed differ together with it"
    assert contrast.side_by_side("avg").to_numpy().tolist() == [[70, 72]]


def test_every_key_of_a_grid_has_its_contrast() -> None:
    grid = product(("fedavg", "fedprox"), (32, 64), (0, 1))
    rows = [
        row(60 + number, strategy=strategy, seed=seed, **{"image-size": size})
        for number, (strategy, size, seed) in enumerate(grid)
    ]
    by_size, by_strategy = sorted(found(*rows), key=lambda contrast: contrast.key)
    assert (by_size.key, by_size.values) == ("image-size", ["32", "64"])
    assert by_strategy.key == "strategy"
    assert [len(each.blocks) for each in (by_size, by_strategy)] == [4, 4]
    assert by_size.blocks[0] == "FedAvg · seed 0"


@pytest.mark.parametrize(
    "changes",
    [
        {"test_fingerprint": "other"},
        {"fingerprint": "other"},
        {"synthetic": True},
        {"command": "clip"},
        {"dataset": "brats2019"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_judged_or_trained_on_other_images_is_no_pair(changes: dict[str, Any]) -> None:
    assert found(row(70), row(72, strategy="fedprox", **changes)) == []


def test_trials_with_other_reference_images_are_no_repeats_but_can_be_compared() -> None:
    """They are known by their folder alone, and change the training."""
    aligned = {"alignment": "mmd"}
    rows = [
        row(avg, strategy=strategy, **{**aligned, "reference-dir": folder})
        for folder, pair in (("/a", (70, 72)), ("/b", (60, 65)))
        for strategy, avg in zip(("fedavg", "fedprox"), pair, strict=True)
    ]
    by = {contrast.key: contrast for contrast in found(*rows)}
    assert by.keys() == {"strategy", "reference-dir"}
    assert by["strategy"].side_by_side("avg").to_numpy().tolist() == [[70, 72], [60, 65]]
    assert by["strategy"].blocks == {0: "reference-dir /a", 1: "reference-dir /b"}


def test_a_split_file_is_compared_though_it_makes_other_images() -> None:
    rows = [row(avg, fingerprint=f, **{"split-file": f}) for avg, f in ((70, "a"), (72, "b"))]
    (contrast,) = found(*rows)
    assert (contrast.key, contrast.values) == ("split-file", ["a", "b"])


def test_three_backbones_have_ranks_and_two_a_contrast() -> None:
    two = [row(70, backbone="swin_b"), row(71, backbone="convnext_t")]
    assert [contrast.values for contrast in found(*two)] == [["convnext_t", "swin_b"]]
    assert found(*two, row(72, backbone="vit_l_16")) == []


def test_a_heads_key_concerns_that_head_only() -> None:
    rows = [
        row(avg + number, trial=f"same-{number}", command="heads", model=model, **keys)
        for number, keys in enumerate(({"knn-neighbors": 3}, {"knn-neighbors": 20}))
        for model, avg in (("network", 60), ("knn", 70), ("svm", 80))
    ]
    (contrast,) = found(*rows)
    assert contrast.values == ["3", "20"]
    assert contrast.side_by_side("avg").to_numpy().tolist() == [[70, 71]]


def test_means_are_over_blocks_that_have_every_value() -> None:
    (contrast,) = found(*strategies((70, 72), (71, 75)), row(20, strategy="fednova", seed=0))
    assert len(contrast.whole) == 1
    assert contrast_tables(contrast)[0].cells["AVG"].tolist() == ["70.00", "20.00", "72.00"]
    tests = contrast.tests()
    assert [(test.first, test.second, len(test.differences)) for test in tests] == [
        ("FedAvg", "FedNova", 1),
        ("FedAvg", "FedProx", 2),
        ("FedNova", "FedProx", 1),
    ]


def test_a_score_that_a_block_does_not_define_has_no_mean() -> None:
    rows = [*strategies((70, 72)), row(20, strategy="fedavg", seed=1, mcc=None)]
    rows.append(row(30, strategy="fedprox", seed=1, mcc=0.5))
    rows[0]["mcc"] = rows[1]["mcc"] = 0.5
    (contrast,) = found(*rows)
    table = contrast_tables(contrast)[0]
    assert table.cells["MCC"].tolist() == ["–", "0.500"]
    assert table.cells["AVG"].tolist() == ["45.00", "51.00"]


def test_figures_are_drawn_with_and_without_whole_blocks() -> None:
    curves = TrialRecord({}, CURVE, [], {})
    rows = strategies((70, 72), (71, 75)), strategies((70, 72))
    incomplete = [*strategies((70, 72)), row(20, strategy="fednova", seed=1)]
    incomplete.append(row(21, strategy="fedavg", seed=1))
    for each in (*rows, incomplete):
        (contrast,) = found(*each)
        records = dict.fromkeys(contrast.rows["trial"], curves)
        assert len(draw_contrast(contrast).axes) == 3
        assert len(draw_contrast_curves(contrast, records).axes) == 2


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.04: times 3, 2, 1: 0.03, 0.04, 0.04; never below one before."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_follows_from_other_keys_is_no_choice() -> None:
    """Adam's learning rate is its own, unless another one was written."""

    def settings(**keys: Any) -> dict[str, Any]:
        config = ExperimentConfig().replace(**keys)
        return chosen(resolve(config, dataset="ham10000", device="cpu", threads_per_client=1))

    sgd, adam = settings(optimizer="sgd"), settings(optimizer="adam")
    assert {key for key in sgd if sgd[key] != adam[key]} == {"optimizer"}
    assert settings(optimizer="adam", learning_rate=0.5)["learning-rate"] == 0.5
