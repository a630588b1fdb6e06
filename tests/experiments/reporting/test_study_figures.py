"""The study's figures are shown beside ours, and only where the setting is the same."""

import math
from typing import Any

import pytest

from experiments.reporting.comparisons import KINDS, compare
from experiments.reporting.study_figures import PUBLISHED, beside_ours
from models.registry import BACKBONES
from tests.experiments.reporting.made_ledger import ledger, row
from training.metrics import METRIC_NAMES

SAME: dict[str, Any] = {"backbone": "convnext_l", "strategy": "fedprox", "optimizer": "sgd"}


def beside(*rows: dict[str, Any], metric: str = "avg") -> list[Any]:
    found = beside_ours(compare(ledger(*rows)))
    return [one for one in found if one.published.metric == metric]


def test_every_published_figure_names_what_exists() -> None:
    for published in PUBLISHED:
        assert published.kind in KINDS.values()
        assert published.backbone in BACKBONES
        assert published.metric in METRIC_NAMES
        assert 0 < published.percent < 100


def test_the_mean_over_seeds_stands_beside_the_studys() -> None:
    """The study has 82.72 there; ours is the mean of 80 and 82."""
    (found,) = beside(row(80, **SAME), row(82, seed=1, **SAME))
    assert (found.published.percent, found.ours, found.seeds) == (82.72, 81, 2)
    assert found.difference == pytest.approx(-1.72)
    assert found.otherwise == []


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "convnext_b"},
        {"optimizer": "adam"},
        {"dataset": "brats2019"},
        {"objective": "clip"},
        {"objective": "clip", "text-encoder": "RN50x64"},
        {"command": "heads"},
        {"test_set": "client_test"},
        {"unit": "patient"},
    ],
    ids=str,
)
def test_another_setting_is_not_compared(change: dict[str, Any]) -> None:
    assert beside(row(80, **{**SAME, **change})) == []


def test_what_was_done_otherwise_is_said() -> None:
    (found,) = beside(row(80, **SAME, clients=5, pretrained=False))
    assert found.otherwise == ["pretrained false, not true", "clients 5, not 3"]


CLIP = {
    **{"command": "clip", "objective": "clip", "optimizer": "adagrad", "batch-size": 16},
    "loss": "contrastive",
    "learning-rate": 0.001,
}


def test_the_studys_brats2019_is_split_by_patient_in_batches_of_16() -> None:
    brats = {"dataset": "brats2019", "split-by": "lesion", "backbone": "maxvit_t", "n": 544}
    (found,) = beside(row(80, text_weights="openai", **CLIP, **brats))
    assert (found.published.percent, found.otherwise) == (79.6, [])


def test_a_random_text_tower_is_said() -> None:
    (found,) = beside(row(80, text_weights="random, seed 0", backbone="maxvit_t", **CLIP))
    assert found.otherwise == ["RANDOM text tower (random, seed 0)"]


def test_the_abstracts_figure_stands_beside_either_strategy() -> None:
    both = [row(80, **{**SAME, "strategy": name}) for name in ("fedavg", "fedprox")]
    found = beside(*both, metric="f1")
    assert [one.published.where for one in found] == ["abstract", "abstract"]


def test_a_method_that_the_study_did_not_try_is_not_beside_its_abstract() -> None:
    """The abstract names no method, but no trial of the study is like FedNova's."""
    both = [row(80, **{**SAME, "strategy": name}) for name in ("fednova", "fedavg")]
    (found,) = beside(*both, metric="f1")
    assert "FedAvg" in found.setting


def test_a_gain_is_paired_by_seed() -> None:
    """Seed 0 gains 4, seed 1 gains 8; seed 2 has no network to compare with."""
    of = {"command": "heads", "backbone": "maxvit_t"}
    rows = [
        *(row(avg, seed=s, **of) for s, avg in enumerate((70, 72))),
        *(row(avg, seed=s, model="svm", **of) for s, avg in enumerate((74, 80, 99))),
    ]
    (found,) = beside(*rows)
    assert (found.published.percent, found.ours, found.seeds) == (15, 6, 2)
    assert found.published.gain


def test_synthetic_images_give_no_difference() -> None:
    (found,) = beside(row(80, synthetic=True, **SAME))
    assert math.isnan(found.difference)
