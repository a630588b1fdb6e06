"""What trials need, found before the first one starts: data, device, weights, text features."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from data_partition.image_store import ProgressCallback
from experiments.campaigns.trial import Trial
from operation.errors import InputError
from training.clip_text import prepare_text
from training.config import ExperimentConfig
from training.division import DIVISION_KEYS, IMAGE_KEYS
from training.errors import ConfigError
from training.experiment_data import (
    DataFacts,
    data_facts,
    open_central_data,
    open_federated_data,
)
from training.preparation import (
    DataOutline,
    check_backbone,
    find_dataset_and_device,
    outline_data,
    prefetch_weights,
)

Found = TypeVar("Found")

_DATA_KEYS = (
    *(*IMAGE_KEYS, "allow-overlap", "cache-dir"),
    *("partition", "leave-out", "split", "split-file"),
)
CUT_KEYS = (*_DATA_KEYS, *DIVISION_KEYS, "reference-dir")
_BACKBONE_KEYS = ("backbone", "image-size", "trainable")
_TEXT_KEYS = ("text-encoder", "pretrained", "weights-dir", "cache-dir", "seed")


class Preflight:
    """Checks what trials need, each thing once, and collects all errors.

    Missing image stores are built, text features computed, and weights downloaded, so that trials
    side by side find them.
    """

    def __init__(self, progress: ProgressCallback | None = None) -> None:
        self._progress = progress
        self._known: dict[Hashable, object] = {}
        self._faults: dict[str, None] = {}

    def facts(self, trials: Iterable[Trial]) -> list[DataFacts]:
        """Return the facts about each trial's data.

        Raises:
            ConfigError: a line for each data set that cannot be used.
        """
        found = [self._facts(trial.config) for trial in trials]
        self._raise()
        return [facts for facts in found if facts is not None]

    def look(self, trials: Iterable[Trial]) -> None:
        """Find what trials lack, without decoding images, which may take an hour.

        Raises:
            ConfigError: a line for each error.
        """
        for trial in trials:
            config = trial.config
            self._once(_key(config, _BACKBONE_KEYS, "backbone"), check_backbone, config)
            found = self._once(_key(config, CUT_KEYS, "outline", trial.command), _outline, trial)
            if config.objective == "clip" and found:
                key = _key(config, _TEXT_KEYS, *found.classes)
                self._once(key, prepare_text, config, found.classes)
            if config.pretrained:
                key = ("weights", config.backbone, config.weights_dir)
                self._once(key, prefetch_weights, config)
        self._raise()

    def check(self, trials: Iterable[Trial], *, device: bool) -> None:
        """Check that trials can start.

        Args:
            device: check this machine's device, because they run on it.

        Raises:
            ConfigError: a line for each error.
        """
        trials = list(trials)
        for trial in trials:
            config = trial.config
            if device:
                self._once(
                    ("device", config.device, config.precision, config.data_dir, config.test_dir),
                    find_dataset_and_device,
                    config,
                )
        self.look(trials)
        for trial in trials:
            config = trial.config
            if trial.command == "simulate":
                self._once(_key(config, CUT_KEYS), open_federated_data, config)
            else:
                self._once(_key(config, CUT_KEYS, "central"), open_central_data, config)
        self._raise()

    def _facts(self, config: ExperimentConfig) -> DataFacts | None:
        return self._once(_key(config, _DATA_KEYS), data_facts, config, self._progress)

    def _once(
        self, key: Hashable, function: Callable[..., Found], *arguments: object
    ) -> Found | None:
        """Return a function's result, called once for each key; None if it finds an error."""
        if key not in self._known:
            self._known[key] = None
            try:
                self._known[key] = function(*arguments)
            except InputError as error:
                self._fault(str(error))
        return self._known[key]  # type: ignore[return-value]

    def _fault(self, text: str) -> None:
        self._faults.update(dict.fromkeys(text.splitlines()))

    def _raise(self) -> None:
        if self._faults:
            raise ConfigError("\n".join(self._faults))


def _key(config: ExperimentConfig, keys: Iterable[str], *more: str) -> Hashable:
    flat = config.to_flat()
    return (*more, *((key, flat[key]) for key in keys))


def _outline(trial: Trial) -> DataOutline:
    command = trial.command
    return outline_data(
        trial.config, federated=command == "simulate", needs_test=command == "heads"
    )
