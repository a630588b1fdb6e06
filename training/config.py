"""The config of one experiment: flat keys, all checked before anything starts."""

from collections.abc import Mapping
from typing import Any

import tomli_w
from pydantic import ValidationError, model_validator

from models.errors import BackboneError
from models.head_names import HEADS
from models.registry import BACKBONES, check_without_library, known
from models.text_encoders import find_text_encoder
from operation.plugins import PlugInError
from operation.text import known_names
from strategies import methods
from training.config_keys import MODALITIES, ConfigKeys
from training.errors import ConfigError
from training.losses import LOSSES, STUDY_LOSSES
from training.method_keys import class_for
from training.optimizers import OPTIMIZERS, STUDY_OPTIMIZERS
from training.scores import ALL_SCORES

Scalar = str | bool | int | float

# Keys that do not affect results: paths, permission to run with an overlap, and how long sites are
# waited for, which is no more reproducible than whether they are there.
NOT_IDENTITY = ("run-dir", "cache-dir", "allow-overlap", "round-timeout")

# The arrays of a network's head.
HEAD_NAMES = ("head.weight", "head.bias")


class ExperimentConfig(ConfigKeys):
    """One experiment. Frozen; field ``learning_rate`` is key ``learning-rate``, and so on.

    `resolve` replaces the value ``auto`` (and 0, where it means "planned") before a run by the
    setting of the study (docs/study.md) for the objective and the data set.
    With a package's method, `parse` returns a subclass that has its keys, too.
    """

    @model_validator(mode="after")
    def _check_combinations(self) -> "ExperimentConfig":
        faults = []
        try:
            known(self.backbone)
        except BackboneError as error:
            faults.append(f"backbone = {self.backbone!r}: {error}")
        else:
            try:
                check_without_library(self.backbone, self.image_size)
            except BackboneError as error:
                faults.append(f"image-size = {self.image_size}: {error}")
        # What only the backbone's library knows is checked by `training.preparation`.
        spec = BACKBONES.get(self.backbone)
        if self.trainable == "lora" and spec is not None and not spec.has_linear_layers:
            faults.append(no_lora(self.backbone))
        if self.augmented_views and not self.on_features:
            faults.append(
                f"augmented-views = {self.augmented_views}: allowed with trainable = head or "
                f"adapter only, whose clients keep features; trainable = {self.trainable!r}"
            )
        if self.test_batchnorm == "recomputed" and self.on_features:
            faults.append(
                f"test-batchnorm = 'recomputed': allowed with trainable = all or lora only, since "
                f"with trainable = {self.trainable!r} clients keep features, which the frozen "
                "network has computed with its stored statistics"
            )
        faults += self._faults_of_alignment()
        if self.clients_per_round > self.clients:
            faults.append(
                f"clients-per-round = {self.clients_per_round}: allowed are 0, which means all, "
                f"to {self.clients}, the number of clients"
            )
        elif self.min_replies > self.asked_clients:
            faults.append(
                f"min-replies = {self.min_replies}: allowed are 0 to {self.asked_clients}, "
                f"the number of clients{' of a round' if self.samples_clients else ''}"
            )
        if self.split == "flamby" and not self.split_file:
            faults.append("split = 'flamby': name its train_test_split.csv as split-file")
        if self.split == "random" and self.split_file:
            faults.append(
                f"split-file = {self.split_file!r}: allowed with split = flamby or lesion-clean "
                "only; split = 'random'"
            )
        if self.leave_out and self.partition != "source":
            faults.append(
                f"leave-out = {self.leave_out!r}: names a source, so it is allowed with partition "
                f"= source only; partition = {self.partition!r}"
            )
        faults += self._faults_of_training()
        faults += self._faults_of_method()
        if self.batch_size == 1:
            faults.append(
                "batch-size = 1: allowed are 0 (the study's) and 2 or more, since BatchNorm "
                "cannot train on one image"
            )
        try:
            find_text_encoder(self.text_encoder)
        except BackboneError as error:
            faults.append(f"text-encoder = {self.text_encoder!r}: {error}")
        fitted = self.heads.split(",")
        if len(set(fitted)) != len(fitted) or not set(fitted) <= set(HEADS):
            faults.append(
                f"heads = {self.heads!r}: allowed are one or more of {', '.join(HEADS)}, each "
                "once, separated by commas"
            )
        named = self.modalities.split(",")
        if len(named) != 3 or len(set(named)) != 3 or not set(named) <= set(MODALITIES):
            faults.append(
                f"modalities = {self.modalities!r}: allowed are three of {', '.join(MODALITIES)}, "
                "separated by commas: the network's three channels"
            )
        if self.precision == "bfloat16" and self.device in ("cpu", "mps"):
            faults.append(
                f"precision = 'bfloat16': needs device = cuda, but device = {self.device!r}"
            )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _faults_of_alignment(self) -> list[str]:
        faults, kind = [], self.alignment
        if kind == "none" and self.reference_dir:
            faults.append(
                f"reference-dir = {self.reference_dir!r}: allowed with alignment = mmd or coral "
                "only"
            )
        if kind != "none" and not self.reference_dir:
            faults.append(
                f"alignment = {kind!r}: name a folder of images that every client has as "
                "reference-dir"
            )
        if kind != "none" and self.trainable == "head":
            faults.append(
                f"alignment = {kind!r}: with trainable = 'head' nothing that is trained lies "
                "before the features, so it would change nothing; take trainable = adapter, lora "
                "or all"
            )
        return faults

    def _fault_of_loss(self) -> str:
        loss = self.chosen_loss
        if loss not in LOSSES:
            return f"loss = {loss!r}: no such loss; {known_names(loss, ('auto', *LOSSES))}"
        try:
            allowed = LOSSES[loss].objectives
        except PlugInError as error:
            return f"loss = {loss!r}: {error}"
        if self.objective not in allowed:
            return f"loss = {loss!r}: allowed with objective = {' or '.join(allowed)} only"
        if self.accumulate_batches > 1 and LOSSES[loss].whole_batch:
            return (
                f"accumulate-batches = {self.accumulate_batches}: with loss = {loss!r} allowed is "
                "1, since it compares the images of a batch with one another"
            )
        return ""

    def _fault_of_score(self) -> str:
        try:
            if self.best_by != "loss":  # which is no score
                ALL_SCORES[self.best_by]
        except PlugInError as error:
            return f"best-by = {self.best_by!r}: {error}"
        return ""

    def _faults_of_training(self) -> list[str]:
        faults = [*filter(None, (self._fault_of_loss(), self._fault_of_score()))]
        optimizer = STUDY_OPTIMIZERS[self.objective] if self.optimizer == "auto" else self.optimizer
        if optimizer not in OPTIMIZERS:
            known = known_names(optimizer, ("auto", *OPTIMIZERS))
            return [*faults, f"optimizer = {optimizer!r}: no such optimizer; {known}"]
        if self.momentum and "momentum" not in OPTIMIZERS[optimizer].keys.values():
            faults.append(
                f"momentum = {self.momentum}: allowed with optimizer = sgd only, but optimizer = "
                f"{self.optimizer!r}"
                + (f", which is {optimizer} here" if optimizer != self.optimizer else "")
            )
        return faults

    def _faults_of_method(self) -> list[str]:
        faults, method = [], methods.METHODS[self.strategy]
        optimizer = STUDY_OPTIMIZERS[self.objective] if self.optimizer == "auto" else self.optimizer
        if method.sgd_only and (optimizer != "sgd" or self.momentum):
            faults.append(
                f"strategy = {self.strategy!r}: its formulas hold for SGD without momentum only; "
                "set optimizer = sgd and momentum = 0"
            )
        if method.needs_every_client and self.samples_clients:
            others = (n for n, m in methods.OWN.items() if not m.needs_every_client)
            faults.append(
                f"clients-per-round = {self.clients_per_round}: strategy = {self.strategy!r} needs "
                f"every client in every round; those that do not are {', '.join(others)}"
            )
        elif method.needs_every_client and 0 < self.min_replies < self.clients:
            faults.append(
                f"min-replies = {self.min_replies}: strategy = {self.strategy!r} needs every "
                "client in every round; allowed are 0 and the number of clients"
            )
        if method.pooled and self.clients_per_round:
            faults.append(
                f"clients-per-round = {self.clients_per_round}: with strategy = {self.strategy!r} "
                "one client trains, on the images of all; leave it out"
            )
        least = methods.replies_needed(self.strategy, self.to_flat())
        if least > self.asked_clients:
            asked = "clients-per-round" if self.samples_clients else "clients"
            faults.append(
                f"{asked} = {self.asked_clients}: strategy = {self.strategy!r} with its keys needs "
                f"{least} replies in every round"
            )
        elif 0 < self.min_replies < least:
            faults.append(
                f"min-replies = {self.min_replies}: strategy = {self.strategy!r} with its keys "
                f"needs {least} replies in every round; allowed are 0 and {least} to "
                f"{self.asked_clients}"
            )
        if method.equal_weights and self.aggregation_weights != "equal":
            faults.append(
                f"aggregation-weights = {self.aggregation_weights!r}: strategy = "
                f"{self.strategy!r} counts every client once; set aggregation-weights = equal"
            )
        whole = {*HEAD_NAMES, "trunk"}
        if self.ema_decay and method.local_names(whole) == whole:
            faults.append(
                f"ema-decay = {self.ema_decay}: with strategy = {self.strategy!r} nothing is "
                "shared, so there is no global model to average; leave it out"
            )
        if shares_nothing(self.strategy, self.trainable):
            faults.append(
                f"trainable = 'head': with strategy = {self.strategy!r} the head stays at the "
                "clients, so nothing would be shared"
            )
        return faults

    @property
    def chosen_loss(self) -> str:
        """The loss, of ``auto`` the study's."""
        return STUDY_LOSSES[self.objective] if self.loss == "auto" else self.loss

    def to_flat(self) -> dict[str, Scalar]:
        """Return every key with its value; those of the methods come last."""
        values = self.model_dump(by_alias=True)
        return values | {key: values.pop(key) for key in methods.KEYS}

    def identity(self) -> dict[str, Scalar]:
        """Return the keys that affect results: all except ``NOT_IDENTITY``."""
        return {key: value for key, value in self.to_flat().items() if key not in NOT_IDENTITY}

    def to_toml(self) -> str:
        """Return the config as the text of a TOML file."""
        return tomli_w.dumps(self.to_flat())

    def replace(self, **changes: Scalar) -> "ExperimentConfig":
        """Return a checked copy with the named fields changed.

        The keys of a package's method do not stay with another one.
        """
        values, new = self.to_flat(), {k.replace("_", "-"): v for k, v in changes.items()}
        if new.get("strategy", self.strategy) != self.strategy:
            values = {key: value for key, value in values.items() if key in DEFAULTS}
        return parse({**values, **new})


def parse(values: Mapping[str, Any]) -> ExperimentConfig:
    """Check flat values and return the config.

    Raises:
        ConfigError: one line for each wrong key, with its value and the allowed values.
    """
    model = class_for(values.get("strategy"), ExperimentConfig, DEFAULTS)
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


def defaults(strategy: str = methods.DEFAULT) -> dict[str, Scalar]:
    """Return every key with its default, those of a package's method only with its name.

    Raises:
        ConfigError: the method cannot be loaded.
    """
    return class_for(strategy, ExperimentConfig, DEFAULTS)().to_flat()


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
            continue
        said = messages.setdefault(key, [])
        allowed = fault["msg"].removeprefix("Input should be ").replace("'", "")
        said.append(allowed.replace("a valid integer", "an integer").replace("valid ", ""))
        lines[key] = f"{key} = {value!r}: allowed is {', or '.join(said)}"
    return lines


def shares_nothing(strategy: str, trainable: str) -> bool:
    """Return whether all that is trained stays at the clients, though the method shares a part."""
    stays = methods.METHODS[strategy].local_names((*HEAD_NAMES, "trunk"))
    return trainable == "head" and stays == set(HEAD_NAMES)


def no_lora(backbone: str) -> str:
    """Return the error message for a backbone that has nothing that LoRA could update."""
    return (
        f"trainable = 'lora': {backbone} has no attention and no linear layers to update; allowed "
        "are all, head and adapter"
    )


DEFAULTS: dict[str, Scalar] = ExperimentConfig().to_flat()
# Keys that name folders and files.
PATH_KEYS = tuple(key for key in DEFAULTS if key.endswith(("-dir", "-file", "init-from")))
