"""Differences of our trials from the study (docs/study.md), by the campaigns that repeat it."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from data_partition.dataset import Reading
from data_partition.datasets import find_dataset
from experiments.campaigns.campaign_file import read_campaign
from experiments.campaigns.trial import PLACES, text
from experiments.reporting.comparisons import KINDS
from strategies.methods import KEYS as OF_METHODS
from training.config import DEFAULTS, NOT_IDENTITY, Scalar
from training.declared_keys import KEYS, chosen_keys, users_of
from training.head_settings import HEAD_KEYS, heads_with
from training.study import resolve

_CAMPAIGNS = Path(__file__).parents[1] / "campaigns"
# By kind of experiment, the campaign that has the study's settings.
STUDY_CAMPAIGNS = {
    KINDS["clip", "clip"]: "task1-clip.toml",
    KINDS["simulate", "classifier"]: "task2-federated.toml",
    KINDS["heads", "classifier"]: "task3-heads.toml",
}

_OF_A_FEDERATION = (
    *("strategy", "aggregation-weights", "min-replies", "wire-format", "client-optimizer"),
    *("rounds", "local-epochs", "clients", "clients-per-round", "partition", "dirichlet-alpha"),
    *OF_METHODS,
)


def not_compared(config: Mapping[str, Scalar], command: str, model: str) -> dict[str, str]:
    """Return the keys that do not affect a figure, each with the reason; all others count.

    Args:
        config: of the trial, resolved.
        model: the figure's model: ``network``, or a head.
    """
    found = {
        **dict.fromkeys(NOT_IDENTITY, "where results go decides nothing"),
        **dict.fromkeys(PLACES, "a path, not its content"),
        **dict.fromkeys(("device", "threads-per-client"), "the machine's, up to rounding"),
        "seed": "a figure is a mean over seeds, whose number is shown beside it",
        **dict.fromkeys(
            ("min-replies", "round-timeout"), "who took part in the rounds is shown separately"
        ),
        "heads": "a head's figure is its own, whichever others are fitted",
        "client-heads": "they are fitted when the network is done",
    }
    for key in KEYS.keys() - chosen_keys(config).keys():
        found[key] = f"of {' and '.join(users_of(key))} only"
    if command == "simulate":
        found["epochs"] = "a federation counts rounds"
    else:
        found |= dict.fromkeys(_OF_A_FEDERATION, "there is no federation")
    if model == "network":
        found |= dict.fromkeys(HEAD_KEYS, "a network's figure has no head")
    else:
        others = [key for key in HEAD_KEYS if key != "heads" and model not in heads_with(key)]
        found |= dict.fromkeys(others, "another head's")
    if config["objective"] != "clip":
        found |= dict.fromkeys(("text-encoder",), "there is no text")
    if not find_dataset(str(config["dataset"])).sliced:
        volumes = ("modalities", "slices-per-patient", "slice-choice")
        found |= dict.fromkeys(volumes, "of volumes only")
    if config["partition"] != "dirichlet":
        found["dirichlet-alpha"] = "of partition dirichlet only"
    return found


def differences_from_study(kind: str, rows: pd.DataFrame, model: str) -> list[str] | None:
    """Return how trials differ from the study's, or from our choice if the study gives no value.

    Args:
        kind: of experiment, one of ``STUDY_CAMPAIGNS``.
        rows: of the ledger, on the global test set by image; at least one. The trials differ only
            in the seed.

    Returns:
        As text for users, one entry for each difference: a config key with its value and the
        study's, and the number of test images if it is not the study's. None if the study has no
        such trial: none at this place in its grid.
    """
    row = rows.iloc[0]
    config = {key: _plain(row[f"config.{key}"]) for key in DEFAULTS}
    if (studied := _study_config(kind, config)) is None:
        return None
    left_out = not_compared(config, str(row["command"]), model)
    found = [
        # As text, as the ledger stores keys that have words and numbers.
        f"{key} {text(config[key])}, not {text(wanted)}"
        for key, wanted in studied.items()
        if key not in left_out and text(config[key]) != text(wanted)
    ]
    counts = sorted({int(number) for number in rows["n"]})
    dataset = find_dataset(str(config["dataset"]))
    if dataset.load_test is not None and dataset.study.images is not None:
        _, wanted = dataset.study.images(Reading())
        if counts != [wanted]:
            shown = " or ".join(f"{number:,}" for number in counts)
            found.append(f"{shown} test images, not {wanted:,}")
    return found


def _study_config(kind: str, config: Mapping[str, Any]) -> Mapping[str, Scalar] | None:
    """Return the study's config for a trial: the one at the same place in the campaign's grid."""
    for place, wanted in _study_trials(kind):
        if place.items() <= config.items():
            return wanted
    return None


@cache
def _study_trials(kind: str) -> list[tuple[dict[str, Scalar], dict[str, Scalar]]]:
    """Return each trial's place in the grid and its resolved config."""
    found = []
    for trial in read_campaign(_CAMPAIGNS / STUDY_CAMPAIGNS[kind]).trials:
        place = {key: value for key, value in trial.settings.items() if key != "seed"}
        dataset = trial.config.dataset
        config = resolve(trial.config, dataset=dataset, device="cpu", threads_per_client=1)
        found.append((place, config.to_flat()))
    return found


def _plain(value: Any) -> Any:
    """Return a value as a type of Python, not NumPy."""
    return value.item() if hasattr(value, "item") else value
