"""The config of one experiment: flat keys, all checked before anything starts."""

import re
from collections.abc import Mapping
from typing import Any

import tomli_w
from pydantic import ValidationError, model_validator

from operation.text import known_names, near_name
from training.config_faults import faults_of
from training.config_keys import ConfigKeys
from training.declared_keys import KEYS, class_for
from training.errors import ConfigError

Scalar = str | bool | int | float

# Keys that do not affect results: paths, permission to run with an overlap, and how long sites are
# waited for, which is no more reproducible than whether they are there.
NOT_IDENTITY = ("run-dir", "cache-dir", "allow-overlap", "round-timeout")


class ExperimentConfig(ConfigKeys):
    """One experiment. Frozen; field ``learning_rate`` is key ``learning-rate``, and so on.

    `resolve` replaces the value ``auto`` (and 0, where it means "planned") before a run by the
    setting of the study (docs/study.md) for the objective and the data set.
    With a package's method or loss, `parse` returns a subclass that has its keys, too.
    """

    @model_validator(mode="after")
    def _check_combinations(self) -> "ExperimentConfig":
        if faults := list(faults_of(self)):
            raise ValueError("\n".join(faults))
        return self

    def to_flat(self) -> dict[str, Scalar]:
        """Return every key with its value; those that rows of tables declare come last."""
        values = self.model_dump(by_alias=True)
        return values | {key: values.pop(key) for key in KEYS}

    def identity(self) -> dict[str, Scalar]:
        """Return the keys that affect results: all except ``NOT_IDENTITY``."""
        return {key: value for key, value in self.to_flat().items() if key not in NOT_IDENTITY}

    def to_toml(self) -> str:
        """Return the config as the text of a TOML file."""
        return tomli_w.dumps(self.to_flat())

    def replace(self, **changes: Scalar) -> "ExperimentConfig":
        """Return a checked copy with the named fields changed.

        The keys of a package's method or loss do not stay with another one.
        """
        values, new = self.to_flat(), {k.replace("_", "-"): v for k, v in changes.items()}
        known = defaults({**values, **new})
        return parse({**{key: value for key, value in values.items() if key in known}, **new})


def parse(values: Mapping[str, Any]) -> ExperimentConfig:
    """Check flat values and return the config.

    Raises:
        ConfigError: one line for each wrong key, with its value and the allowed values.
    """
    model = class_for(values, ExperimentConfig, DEFAULTS)
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        known = model().to_flat()
        faults = _explain(error, known)
    # Combinations are only checked if every key is valid by itself, so check the valid keys again.
    # Errors about keys that now have their defaults are dropped, because nobody wrote those values.
    replaced = faults.keys() & known.keys()
    rest = {key: value for key, value in values.items() if key not in faults}
    try:
        model.model_validate(rest)
    except ValidationError as error:
        for key, line in _explain(error, known).items():
            if not any(bad in line for bad in replaced):
                faults[key] = line
    raise ConfigError("\n".join(faults.values()))


def defaults(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return every key with its default, those of a package's method or loss only with its name.

    Args:
        values: flat keys, of any type, of which ``strategy`` and ``loss`` count.

    Raises:
        ConfigError: the method or the loss cannot be loaded.
    """
    return class_for(values, ExperimentConfig, DEFAULTS)().to_flat()


def _explain(error: ValidationError, known: Mapping[str, Scalar]) -> dict[str, str]:
    """Return a line for each error, by its key (for a combination, by the line itself)."""
    lines: dict[str, str] = {}
    messages: dict[str, list[str]] = {}
    for fault in error.errors():
        if not fault["loc"]:
            combinations = str(fault["ctx"]["error"]).splitlines()
            lines.update({line: line for line in combinations})
            continue
        key, value = str(fault["loc"][0]), fault["input"]
        if fault["type"] == "extra_forbidden":
            lines[key] = f"{key} = {value!r}: no such key; {known_names(key, known)}"
            if isinstance(value, dict):
                lines[key] = f"[{key}]: a config has no sections; write the keys without this line"
            continue
        said = messages.setdefault(key, [])
        allowed = fault["msg"].removeprefix("Input should be ").replace("'", "")
        allowed = allowed.replace("a valid boolean", "true or false")
        said.append(allowed.replace("a valid integer", "an integer").replace("valid ", ""))
        near = _near(value, fault["type"], allowed)
        lines[key] = f"{key} = {value!r}: allowed is {', or '.join(said)}{near}"
    return lines


# Faults of values that are names; the last four are ours.
_OF_NAMES = ("literal_error", "dataset", "strategy", "schedule", "score")


def _near(value: object, fault: str, allowed: str) -> str:
    """Return the allowed name that a wrong one is a misspelling of, as a clause; "" if none is."""
    if fault not in _OF_NAMES or not isinstance(value, str):
        return ""
    near = near_name(value, re.split(", | or ", allowed), likeness=0.75)
    return "" if near is None else f"; did you mean {near}?"


DEFAULTS: dict[str, Scalar] = ExperimentConfig().to_flat()
# Keys that name folders and files.
PATH_KEYS = tuple(key for key in DEFAULTS if key.endswith(("-dir", "-file", "init-from")))
