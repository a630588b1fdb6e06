"""What the options of ``fedskin campaign`` choose: the file, the data folders, the trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_partition.datasets import DATASETS, dataset_choice
from experiments.campaigns.trial import Trial, text
from operation.text import known_names
from training.errors import ConfigError

if TYPE_CHECKING:
    from experiments.campaigns.campaign_file import Campaign


def find_file(campaign: Path) -> Path:
    """Return the campaign file, or else the one of that name that comes with fedskin."""
    shipped = Path(__file__).parent / campaign
    return shipped if shipped.is_file() and not campaign.exists() else campaign


def data_folders(data: Sequence[str] | None) -> dict[str, Path]:
    """Return the data folders of ``--data``, by data set."""
    folders = {}
    for given in data or ():
        name, equals, folder = given.partition("=")
        if not equals or name not in DATASETS:
            raise ConfigError(f"--data {given}: write it as NAME=DIR; NAME is {dataset_choice()}")
        folders[name] = Path(folder)
    return folders


def patterns_of(only: Sequence[str] | None, campaign: Campaign) -> list[tuple[str, str]]:
    """Return the patterns of ``--only``, by key."""
    trials = [*campaign.trials, *(trial for _, trial in campaign.variants)]
    known = list(dict.fromkeys(key for trial in trials for key in trial.flat()))
    patterns = []
    for given in only or ():
        key, equals, pattern = given.partition("=")
        if not equals:
            raise ConfigError(f"--only {given}: write it as KEY=PATTERN, such as backbone=swin_*")
        if key not in known:
            raise ConfigError(f"--only {given}: no such key; {known_names(key, known)}")
        patterns.append((key, pattern))
    return patterns


def is_chosen(trial: Trial, patterns: Sequence[tuple[str, str]]) -> bool:
    """Return whether a trial matches, for every key of the patterns, at least one of them."""
    matched = {key for key, pattern in patterns if trial.matches({key: pattern})}
    return all(key in matched for key, _ in patterns)


def chosen_trials(campaign: Campaign, patterns: Sequence[tuple[str, str]]) -> tuple[Trial, ...]:
    """Return the trials that are chosen, see `is_chosen`.

    Raises:
        ConfigError: none is.
    """
    chosen = tuple(trial for trial in campaign.trials if is_chosen(trial, patterns))
    if chosen:
        return chosen
    for key, pattern in patterns:
        if not any(trial.matches({key: pattern}) for trial in campaign.trials):
            trials = (trial.flat() for trial in campaign.trials)
            values = dict.fromkeys(text(keys[key]) for keys in trials if key in keys)
            raise ConfigError(
                f"--only {key}={pattern}: no trial of {campaign.name} matches; "
                f"{known_names(pattern, values)}"
            )
    given = " ".join(f"--only {key}={pattern}" for key, pattern in patterns)
    raise ConfigError(f"{given}: no trial of {campaign.name} matches all of these")


def variants_of(campaign: Campaign) -> Counter[str]:
    """Count the trials of each variant, by the ``--only`` that selects it."""
    return Counter(
        " --only ".join(f"{key}={text(value)}" for key, value in keys.items())
        for keys, _ in campaign.variants
    )
