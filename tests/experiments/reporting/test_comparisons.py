"""Trials are compared that differ in nothing but backbone and seed."""

from typing import Any

import pytest

from experiments.reporting.comparisons import compare, in_order, over_traffic, slug
from tests.experiments.reporting.made_ledger import ledger, row


def test_backbones_and_seeds_are_one_comparison() -> None:
    table = ledger(
        row(70, backbone="vit_l_16", seed=0),
        row(71, backbone="vit_l_16", seed=1),
        row(72, backbone="convnext_t", seed=0),
    )
    (comparison,) = compare(table)
    assert comparison.title == "Federated classifier · HAM10000 · FedAvg · SGD"
    assert comparison.name == "federated-classifier-ham10000-fedavg-sgd"
    assert comparison.backbones == ["convnext_t", "vit_l_16"]
    assert len(comparison.network) == 3


@pytest.mark.parametrize(
    "where",
    [
        {"device": "cuda"},
        {"threads-per-client": 4},
        {"data-dir": "/elsewhere"},
        {"split-file": "/elsewhere/train_test_split.csv"},
        {"run-dir": "/elsewhere"},
        {"host": "other"},
        {"allow-overlap": True},
    ],
    ids=lambda where: next(iter(where)),
)
def test_where_a_trial_ran_makes_no_other_setting(where: dict[str, Any]) -> None:
    assert len(compare(ledger(row(70), row(71, seed=1, **where)))) == 1


@pytest.mark.parametrize(
    "other, title",
    [
        ({"strategy": "fedprox"}, "Federated classifier · HAM10000 · FedProx · SGD"),
        ({"dataset": "brats2019"}, "Federated classifier · BraTS2019 · FedAvg · SGD"),
        (
            {"optimizer": "adam", "learning-rate": 0.001},
            "Federated classifier · HAM10000 · FedAvg · Adam",
        ),
        (
            {"image-size": 64},
            "Federated classifier · HAM10000 · FedAvg · SGD · image-size 64",
        ),
        (
            {"fingerprint": "0123456789abcdef"},
            "Federated classifier · HAM10000 · FedAvg · SGD · fingerprint 0123456789ab",
        ),
        (
            {"reference-dir": "/public"},
            "Federated classifier · HAM10000 · FedAvg · SGD · reference-dir /public",
        ),
        (
            {"synthetic": True},
            "Federated classifier · HAM10000 · FedAvg · SGD · synthetic True",
        ),
        (
            {"test_in_training": 3.0},
            "Federated classifier · HAM10000 · 3 TEST IMAGES ALSO IN TRAINING · FedAvg · SGD",
        ),
        ({"command": "heads"}, "Heads on deep features · HAM10000"),
        (
            {"command": "clip", "objective": "clip", "text_weights": "openai"},
            "Centralized CLIP · HAM10000 · ViT-L/14",
        ),
        (
            {"command": "clip", "objective": "clip", "text_weights": "random, seed 0"},
            "Centralized CLIP · HAM10000 · ViT-L/14 · RANDOM text tower (random, seed 0)",
        ),
        ({"objective": "clip"}, "Federated CLIP · HAM10000 · ViT-L/14 · FedAvg · SGD"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_else_makes_another_setting_and_its_title_says_which(
    other: dict[str, Any], title: str
) -> None:
    found = compare(ledger(row(70), row(71, trial="other", **other)))
    assert len(found) == 2
    assert title in [comparison.title for comparison in found]


def test_a_setting_that_follows_from_another_is_not_said() -> None:
    """The study's batch is 16 on BraTS2019, 32 on HAM10000: the data set tells it."""
    found = compare(ledger(row(70), row(71, **{"dataset": "brats2019", "batch-size": 16})))
    assert not any("batch-size" in comparison.title for comparison in found)


def test_figures_are_those_of_the_global_test_set() -> None:
    table = ledger(
        row(70),
        row(60, test_set="client_test"),
        row(50, unit="patient"),
        row(None, backbone="swin_b"),  # nothing was judged there
    )
    (comparison,) = compare(table)
    assert sorted(comparison.judged["avg"]) == [50, 70]
    assert list(comparison.network["avg"]) == [70]
    assert len(comparison.rows) == 4


def test_an_empty_ledger_compares_nothing() -> None:
    assert compare(ledger()) == []


def test_the_studys_order_then_the_alphabet() -> None:
    names = ledger(*(row(0, backbone=name) for name in ("zeta", "vit_l_16", "alpha", "swin_b")))
    assert in_order(names["config.backbone"]) == ["swin_b", "vit_l_16", "alpha", "zeta"]


def test_slugs_are_file_names() -> None:
    assert slug("Federated CLIP · ViT-L/14 · svm-c 0.5") == "federated-clip-vit-l-14-svm-c-0.5"


def test_what_differs_in_how_much_travels_is_put_together() -> None:
    """Of FedAvg there are three ways, and of FedProx one, which is with itself alone."""
    found = compare(
        ledger(
            row(70),
            row(71, trainable="adapter"),
            row(72, trainable="adapter", **{"wire-format": "int8"}),
            row(73, strategy="fedprox"),
        )
    )
    assert len(found) == 4
    together, alone = over_traffic(found)
    assert alone.title == "Federated classifier · HAM10000 · FedProx · SGD"
    assert together.title == "Federated classifier · HAM10000 · FedAvg · SGD"
    assert sorted(together.rows["avg"]) == [70, 71, 72]


def test_other_differences_are_not_put_together() -> None:
    found = compare(ledger(row(70), row(71, trainable="head", **{"image-size": 64})))
    assert len(found) == 2
    assert [len(each.rows) for each in over_traffic(found)] == [1, 1]


def test_what_never_travelled_is_put_together_where_it_differs_alone() -> None:
    """A centralized run sends nothing, but an adapter costs less time than all."""
    one, other = row(70, command="clip"), row(71, command="clip", trainable="adapter")
    assert over_traffic(compare(ledger(one))) == []
    (together,) = over_traffic(compare(ledger(one, other)))
    assert not together.federated
