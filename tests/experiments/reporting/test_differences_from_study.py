"""Every config key is compared with the study's, or there is a reason not to."""

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import experiments.campaigns
from experiments.campaigns.campaign_file import read_campaign
from experiments.campaigns.trial import text
from experiments.reporting.differences_from_study import (
    STUDY_CAMPAIGNS,
    differences_from_study,
    not_compared,
)
from tests.experiments.reporting.made_ledger import ledger, row
from training.config import DEFAULTS, Scalar
from training.study import resolve

# Of each kind of experiment: a place in the study's grid, and whose figure.
HAM_TEXT = {"dataset": "ham10000", "text-encoder": "RN50x16", "backbone": "maxvit_t"}
CASES: dict[str, tuple[str, str, dict[str, Scalar], str]] = {
    "skin and text": ("Centralized CLIP", "clip", HAM_TEXT, "network"),
    "brains and text": ("Centralized CLIP", "clip", HAM_TEXT | {"dataset": "brats2019"}, "network"),
    **{
        f"{strategy} with {optimizer}": (
            "Federated classifier",
            "simulate",
            {"strategy": strategy, "optimizer": optimizer, "backbone": "swin_b"},
            "network",
        )
        for strategy, optimizer in (("fedavg", "sgd"), ("fedprox", "adamw"))
    },
    **{
        head: ("Heads on deep features", "heads", {"backbone": "swin_t"}, head)
        for head in ("network", "knn", "svm")
    },
}


@cache
def study_config(case: str) -> dict[str, Scalar]:
    """The config of the study's own trial at the case's place in its grid."""
    kind, _, place, _ = CASES[case]
    path = Path(experiments.campaigns.__file__).with_name(STUDY_CAMPAIGNS[kind])
    (config,) = [
        trial.config
        for trial in read_campaign(path).trials
        if place.items() <= trial.config.to_flat().items()
    ]
    return resolve(config, dataset=config.dataset, device="cpu", threads_per_client=1).to_flat()


@cache
def own_rows(case: str) -> pd.DataFrame:
    """The rows of the study's own trial."""
    _, command, _, model = CASES[case]
    table = ledger(row(80, command=command, model=model))
    return table.assign(**{f"config.{key}": value for key, value in study_config(case).items()})


def rows(case: str, **changes: Any) -> pd.DataFrame:
    """The rows of the study's own trial, with other values of some keys."""
    return own_rows(case).assign(**{f"config.{key}": value for key, value in changes.items()})


def another(value: Scalar) -> Scalar:
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    return f"not-{value}" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("case", CASES)
def test_the_studys_own_trial_does_nothing_otherwise(case: str) -> None:
    kind, _, _, model = CASES[case]
    assert differences_from_study(kind, rows(case), model) == []


@pytest.mark.parametrize("case", CASES)
def test_every_key_counts_or_has_a_reason_not_to(case: str) -> None:
    kind, command, place, model = CASES[case]
    config = study_config(case)
    reasons = not_compared(config, command, model)
    assert reasons.keys() <= DEFAULTS.keys()
    assert all(reasons.values())
    for key in DEFAULTS.keys() - place.keys() - {"dataset", "objective"}:
        other = another(config[key])
        found = differences_from_study(kind, rows(case, **{key: other}), model)
        said = [] if key in reasons else [f"{key} {text(other)}, not {text(config[key])}"]
        assert found == said, key


def test_what_decides_a_federated_figure() -> None:
    """Written out once, so that no reason takes in more than it says."""
    config = study_config("fedprox with adamw")
    compared = DEFAULTS.keys() - not_compared(config, "simulate", "network").keys()
    assert {
        *("aggregation-weights", "proximal-mu", "wire-format", "client-optimizer", "rounds"),
        *("local-epochs", "clients", "partition", "trainable", "pretrained", "learning-rate"),
        *("weight-decay", "beta1", "beta2", "batch-size", "best-by", "image-size"),
        *("split-by", "precision", "augmented-views"),
    } <= compared


def test_what_decides_a_heads_figure() -> None:
    config = study_config("svm")
    for model, own in (("svm", {"svm-c", "svm-gamma"}), ("knn", {"knn-neighbors"})):
        compared = DEFAULTS.keys() - not_compared(config, "heads", model).keys()
        heads = {"svm-c", "svm-gamma", "knn-neighbors", "forest-trees", "scaler", "tune-heads"}
        assert compared & heads == own | {"scaler", "tune-heads"}


@pytest.mark.parametrize(
    "counts, said",
    [
        ((1512,), []),
        ((1511,), ["1,511 test images, not 1,512"]),
        ((1512, 1511), ["1,511 or 1,512 test images, not 1,512"]),
    ],
)
def test_how_many_test_images_is_said(counts: tuple[int, ...], said: list[str]) -> None:
    """The ground truth of the ISIC2018 test set has been released with 1,511 and 1,512 rows."""
    table = pd.concat([rows("knn").assign(n=n) for n in counts])
    assert differences_from_study("Heads on deep features", table, "knn") == said
