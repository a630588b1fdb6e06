"""What is compared of a campaign: the trials of some settings, paired over all other keys."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from experiments.campaigns.ledger import read_ledger
from experiments.campaigns.trial import is_like
from experiments.reporting.compared_models import Model, read_model
from experiments.reporting.contrasts import common_settings, names_of, settings_of
from models.head_names import HEADS
from operation.errors import InputError
from operation.text import known_names
from training.config import Scalar
from training.run_folder import CENTRALIZED, RunFolder

# Besides the config's keys, what a setting may name.
_COMMAND, _MODEL, _NETWORK = "command", "model", "network"


def read_settings(
    folder: Path, settings: Sequence[str], *, clients: bool
) -> tuple[dict[str, list[Model]], list[str], list[str]]:
    """Read the models of some settings of a campaign.

    Trials are paired that differ in the keys that the settings name, and in no other.

    Args:
        folder: the campaign's.
        settings: ``KEY=VALUE``, or several with commas between them; values are patterns as those
            of `is_like`. ``model=knn`` chooses a head.
        clients: see `read_model`.

    Returns:
        The models of each setting, one for each pair; the names of the pairs; and a sentence for
        each setting of which some trials are in no pair.

    Raises:
        InputError: a setting is not written so, or fits no finished trial, or there are no pairs.
        RunFolderError: a trial has no predictions.
    """
    ledger = read_ledger(folder)
    about = ledger.table.drop_duplicates("trial").set_index("trial")
    trials = folder / "trials"
    configs = {
        trial: _keys(RunFolder(trials / trial), str(about.loc[trial, "command"]))
        for trial in ledger.records
    }
    patterns = {setting: _parse(setting, configs) for setting in settings}
    models_of = {setting: found.pop(_MODEL, _NETWORK) for setting, found in patterns.items()}
    heads = {setting: None if of == _NETWORK else of for setting, of in models_of.items()}
    chosen = {
        setting: [trial for trial, keys in configs.items() if is_like(keys, patterns[setting])]
        for setting in settings
    }
    for setting, found in chosen.items():
        if not found:
            raise InputError(f"{setting}: no finished trial in {folder} is of this setting")
    together = list(dict.fromkeys(trial for found in chosen.values() for trial in found))
    table = settings_of({trial: ledger.records[trial].settings for trial in together})
    # Training on other images is another setting, too.
    table = table.join(about[[_COMMAND, "fingerprint"]])
    common = common_settings(table, [key for found in patterns.values() for key in found])
    of_block = {setting: _by_block(setting, found, common) for setting, found in chosen.items()}
    first, *others = of_block.values()
    pairs = [block for block in first if all(block in other for other in others)]
    if not pairs:
        raise InputError(
            f"{' and '.join(settings)}: no trials agree in all other keys, of which differ: "
            f"{', '.join(map(str, common))}; name those, too, as in  KEY=VALUE,KEY=VALUE"
        )
    paired = common.loc[[first[block] for block in pairs]]
    models = {
        setting: [
            read_model(found[p], trials / found[p], heads[setting], clients=clients) for p in pairs
        ]
        for setting, found in of_block.items()
    }
    notes = [
        f"{setting}: {len(found) - len(pairs)} of {len(found)} trials have no counterpart"
        for setting, found in of_block.items()
        if len(found) > len(pairs)
    ]
    return models, names_of(common_settings(paired, [])).tolist(), notes


def _keys(run: RunFolder, command: str) -> dict[str, Scalar]:
    """Return the keys that a setting may name; a centralized run has no strategy."""
    keys: dict[str, Scalar] = {**run.config().to_flat(), _COMMAND: command}
    if command in CENTRALIZED:
        del keys["strategy"]
    return keys


def _parse(setting: str, configs: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Return the patterns of a setting."""
    known = [*dict.fromkeys(key for keys in configs.values() for key in keys), _MODEL]
    found = {}
    # A value may hold a comma, as that of key heads does.
    for part in re.split(r",(?=[\w-]+=)", setting):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"{setting}: is no setting; write it as KEY=VALUE,KEY=VALUE")
        if key not in known:
            raise InputError(f"{setting}: there is no key {key}; {known_names(key, known)}")
        found[key] = value
    if found.get(_MODEL, _NETWORK) not in (*HEADS, _NETWORK):
        raise InputError(f"{setting}: allowed as {_MODEL} are {_NETWORK}, {', '.join(HEADS)}")
    return found


def _by_block(
    setting: str, trials: Sequence[str], common: pd.DataFrame
) -> dict[tuple[str, ...], str]:
    """Return the trials of a setting by what they must have in common with others."""
    found: dict[tuple[str, ...], str] = {}
    for trial in trials:
        block = tuple(common.loc[trial])
        if block in found:
            raise InputError(
                f"{setting}: {found[block]} and {trial} both fit, and agree in every key that no "
                "setting names; let it name one value of each key"
            )
        found[block] = trial
    return found
