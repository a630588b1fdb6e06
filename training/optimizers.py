"""The optimizers: a table by name, with the study's settings (docs/study.md).

torch is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from strategies.method import Key, Settings

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Optimizer:
    """A row of the table.

    Attributes:
        torch_name: of its class in ``torch.optim``.
        learning_rate, weight_decay: what ``auto`` means.
        keys: further keys of the config that it reads. Another value than the default is refused
            with an optimizer that does not read the key, unless the default is ``auto``. Two
            optimizers may declare the same key, if equally.
        arguments: returns what torch's class is given beside learning rate and weight decay.
        fused: whether a step on a CPU is one pass over the memory, where that measures better
            (docs/performance.md). Rounding differs from torch's default.
        state_tensors: returns how many tensors of a parameter's size it keeps for it between
            steps.
    """

    torch_name: str
    learning_rate: float
    weight_decay: float
    state_tensors: Callable[[Settings], int]
    keys: Mapping[str, Key] = field(default_factory=dict)
    arguments: Callable[[Settings], dict[str, Any]] = lambda settings: {}
    fused: bool = False


_SGD = Optimizer(
    "SGD",
    learning_rate=0.01,
    weight_decay=0.0005,
    state_tensors=lambda settings: int(settings["momentum"] > 0),
    keys={"momentum": Key(0.0, ge=0, lt=1)},
    arguments=lambda settings: {"momentum": settings["momentum"]},
)
_ADAM = Optimizer(
    "Adam",
    learning_rate=0.001,
    weight_decay=0.02,
    state_tensors=lambda settings: 2,
    keys={"beta1": Key(0.9, ge=0, lt=1, auto=True), "beta2": Key(0.98, ge=0, lt=1, auto=True)},
    arguments=lambda settings: {"betas": (settings["beta1"], settings["beta2"])},
    fused=True,
)
OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": _SGD,
    "adam": _ADAM,
    "adamw": replace(_ADAM, torch_name="AdamW"),
    "adagrad": Optimizer("Adagrad", 0.001, 0.0005, lambda settings: 1, fused=True),
    "adadelta": Optimizer("Adadelta", 0.001, 0.0005, lambda settings: 2),
}
# What ``auto`` means, by objective.
STUDY_OPTIMIZERS = {"classifier": "sgd", "clip": "adagrad"}


def state_tensors(values: Mapping[str, Any]) -> int:
    """Return how many tensors of a parameter's size the optimizer of a config keeps for it."""
    return OPTIMIZERS[values["optimizer"]].state_tensors(values)


def build_optimizer(
    values: Mapping[str, Any],
    parameters: Iterable[nn.Parameter],
    learning_rate: float | None = None,
) -> torch.optim.Optimizer:
    """Return the optimizer that a config names.

    Args:
        values: the flat keys of a resolved config, so nothing in it is ``auto``.
        learning_rate: of this round (`training.schedules`); None: the config's.
    """
    import torch

    row = OPTIMIZERS[values["optimizer"]]
    rate = float(values["learning-rate"]) if learning_rate is None else learning_rate
    kind = getattr(torch.optim, row.torch_name)
    arguments, trained = row.arguments(values), list(parameters)
    arguments["weight_decay"] = float(values["weight-decay"])
    if row.fused and trained[0].device.type == "cpu":  # elsewhere it was not measured
        arguments["fused"] = True
    optimizer: torch.optim.Optimizer = kind(trained, lr=rate, **arguments)
    return optimizer
