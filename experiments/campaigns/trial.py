"""One trial of a campaign: a command, its config, and what makes it the same trial again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from training.config import ExperimentConfig, Scalar
from training.experiment_data import DataFacts
from training.head_settings import HEAD_KEYS
from training.run_folder import RunFolder
from training.study import resolve

# Where the data and the weights lie says nothing about what they are.
PLACES = ("data-dir", "test-dir", "weights-dir")


@dataclass(frozen=True)
class Trial:
    """A run that a campaign asks for.

    Attributes:
        command: ``simulate``, ``clip`` or ``heads``.
        config: as written, with absolute paths; ``auto`` and 0 may stand for what is planned.
        settings: what sets this trial apart in its campaign: the grid's keys and the seed.
    """

    command: str
    config: ExperimentConfig
    settings: Mapping[str, Scalar]

    def id(self, facts: DataFacts) -> str:
        """Return ``<command>-<backbone>-<12 hex digits>``, the name of the trial's folder.

        The digits are the sha256 of the resolved config and of the data's fingerprints. What the
        machine decides, the device and the threads, counts as it was written, so that a trial is
        the same on another machine; the folders of data and weights do not count.
        """
        return self._name(self._identity(facts))

    def network_key(self, facts: DataFacts) -> str:
        """Return what trials of ``heads`` have in common that differ in their heads alone.

        They share one trained network.
        """
        identity = self._identity(facts)
        return self._name({k: v for k, v in identity.items() if k not in HEAD_KEYS})

    def matches(self, patterns: Mapping[str, Scalar]) -> bool:
        """Tell whether this trial is like ``patterns``; see `is_like`."""
        return is_like({**self.config.to_flat(), "command": self.command}, patterns)

    def _identity(self, facts: DataFacts) -> dict[str, Any]:
        resolved = resolve(
            self.config,
            dataset=facts.dataset,
            device=self.config.device,
            threads_per_client=self.config.threads_per_client,
        )
        keys = {k: v for k, v in resolved.identity().items() if k not in PLACES}
        return {**keys, "data": facts.fingerprint, "test data": facts.test_fingerprint}

    def _name(self, identity: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{self.command}-{self.config.backbone}-{digest[:12]}"


def is_like(keys: Mapping[str, Any], patterns: Mapping[str, Scalar]) -> bool:
    """Tell whether every key has its value, or is as a file name to the pattern that it has."""
    return all(
        keys[key] == wanted or fnmatchcase(text(keys[key]), text(wanted))
        for key, wanted in patterns.items()
    )


def text(value: Scalar) -> str:
    """Return a value as a person writes it after ``-c KEY=``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_done(command: str, folder: RunFolder) -> bool:
    """Tell whether a trial's run folder holds all that the trial was to give.

    Raises:
        RunFolderError: its manifest or its figures cannot be read.
    """
    if folder.manifest().get("status") != "completed":
        return False
    return command != "heads" or "heads" in folder.metrics()
