"""One trial of a campaign: a command, its config, and its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from models.registry import file_name
from training.config import DEFAULTS, NOT_IDENTITY, PATH_KEYS, ExperimentConfig, Scalar
from training.declared_keys import keys_of
from training.experiment_data import DataFacts
from training.head_settings import HEAD_KEYS
from training.run_folder import RunFolder
from training.study import resolve

# Paths of data and weights do not change the result; what is there has fingerprints, except
# reference images and the run that a trial starts from, which are known by their folders.
_KNOWN_BY_FOLDER = ("reference-dir", "init-from")
# Keys that count only where they are set, so that a campaign begun before they existed goes on.
_IF_SET = (
    *("patience", "init-from", "init-weights", "accumulate-batches", "ema-decay"),
    *keys_of("loss"),
)
PLACES = tuple(key for key in PATH_KEYS if key not in (*NOT_IDENTITY, *_KNOWN_BY_FOLDER))


@dataclass(frozen=True)
class Trial:
    """A run that is part of a campaign.

    Attributes:
        command: ``simulate``, ``clip`` or ``heads``.
        config: as written, with absolute paths; not resolved, so it may hold ``auto`` and 0.
        settings: the keys in which this trial differs from others: the grid's keys and the seed.
    """

    command: str
    config: ExperimentConfig
    settings: Mapping[str, Scalar]

    def id(self, facts: DataFacts) -> str:
        """Return ``<command>-<backbone>-<12 hex digits>``, the name of the trial's folder.

        The digits are from the sha256 of the resolved config and of the data's fingerprints. Device
        and threads count as written in the config, so that a trial has the same id on another
        machine; the folders of data and weights do not count.
        """
        return self._name(self._identity(facts))

    def network_key(self, facts: DataFacts) -> str:
        """Return a key that is equal for trials of ``heads`` that share one trained network.

        These are the trials that differ only in the heads' settings.
        """
        identity = self._identity(facts)
        return self._name({k: v for k, v in identity.items() if k not in HEAD_KEYS})

    def flat(self) -> dict[str, Scalar]:
        """Return the keys that patterns match: those of the config, and ``command``."""
        return {**self.config.to_flat(), "command": self.command}

    def matches(self, patterns: Mapping[str, Scalar]) -> bool:
        """Return whether this trial matches ``patterns``; see `is_like`."""
        return is_like(self.flat(), patterns)

    def _identity(self, facts: DataFacts) -> dict[str, Any]:
        resolved = resolve(
            self.config,
            dataset=facts.dataset,
            device=self.config.device,
            threads_per_client=self.config.threads_per_client,
        )
        identity = resolved.identity().items()
        keys = {k: v for k, v in identity if k not in PLACES and not _is_unset(k, v)}
        return {**keys, "data": facts.fingerprint, "test data": facts.test_fingerprint}

    def _name(self, identity: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{self.command}-{file_name(self.config.backbone)}-{digest[:12]}"


def _is_unset(key: str, value: Scalar) -> bool:
    return key in _IF_SET and value == DEFAULTS[key]


def is_like(keys: Mapping[str, Any], patterns: Mapping[str, Scalar]) -> bool:
    """Return whether every key equals its pattern, or matches it like a file name pattern.

    A key that is not there, of another method, matches nothing.
    """
    return all(
        key in keys and (keys[key] == wanted or fnmatchcase(text(keys[key]), text(wanted)))
        for key, wanted in patterns.items()
    )


def text(value: Scalar) -> str:
    """Return a value as it is written after ``-c KEY=``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_done(command: str, folder: RunFolder) -> bool:
    """Return whether a trial's run folder holds all results of the trial.

    Raises:
        RunFolderError: its manifest or its figures cannot be read.
    """
    return folder.is_completed() and (command != "heads" or "heads" in folder.metrics())
