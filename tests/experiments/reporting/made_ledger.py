"""Ledgers of a few rows, written by hand."""

from typing import Any

import pandas as pd

from experiments.campaigns.ledger import COLUMNS
from training.config import DEFAULTS
from training.metrics import METRIC_NAMES

RESOLVED = {
    "dataset": "ham10000",
    "loss": "cross-entropy",
    "optimizer": "sgd",
    "learning-rate": 0.01,
    "weight-decay": 0.0005,
    "beta1": 0.0,
    "beta2": 0.0,
    "batch-size": 32,
}


def row(avg: float | None, **changes: Any) -> dict[str, Any]:
    """A trial's row: all its figures are ``avg``; ``changes`` name columns, or keys of the config.

    Without changes it is a federated classifier's, of real images, on the global test set.
    """
    config = {**DEFAULTS, **RESOLVED}
    about: dict[str, Any] = {
        **{name: "" if kind is str else 0 for name, kind in COLUMNS.items()},
        **dict.fromkeys(METRIC_NAMES, avg),
        **{"command": "simulate", "test_set": "global_test", "model": "network", "unit": "image"},
        "synthetic": False,
        "complete": True,
        "bacc_classes": 7,
        "n": 1512,
    }
    for name, value in changes.items():
        if name in about:
            about[name] = value
        else:
            config[name.replace("_", "-")] = value
    about["trial"] = about["trial"] or f"{config['backbone']}-{config['seed']}"
    return {**about, **{f"config.{key}": value for key, value in config.items()}}


def ledger(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as a ledger's table."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)
