"""The optimizers: a table by name, with the study's settings (docs/study.md).

torch is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Optimizer:
    """A row of the table.

    Attributes:
        torch_name: of its class in ``torch.optim``.
        learning_rate, weight_decay: what ``auto`` means.
        betas: what ``auto`` means for ``beta1`` and ``beta2``; None if it has none.
        keys: further config keys that it uses, by their name in torch.
        fused: whether a step on a CPU is one pass over the memory, where that measures better
            (docs/performance.md). Rounding differs from torch's default.
        state_tensors: how many tensors of a parameter's size it keeps for it between steps; with
            momentum one more.
    """

    torch_name: str
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float] | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    state_tensors: int = 1
    fused: bool = False

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a resolved config's flat keys give it, except the learning rate."""
        arguments = {name: values[key] for name, key in self.keys.items()}
        arguments["weight_decay"] = float(values["weight-decay"])
        if self.betas is not None:
            arguments["betas"] = (float(values["beta1"]), float(values["beta2"]))
        return arguments


OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": Optimizer("SGD", 0.01, 0.0005, keys={"momentum": "momentum"}, state_tensors=0),
    "adam": Optimizer("Adam", 0.001, 0.02, (0.9, 0.98), state_tensors=2, fused=True),
    "adamw": Optimizer("AdamW", 0.001, 0.02, (0.9, 0.98), state_tensors=2, fused=True),
    "adagrad": Optimizer("Adagrad", 0.001, 0.0005, fused=True),
    "adadelta": Optimizer("Adadelta", 0.001, 0.0005, state_tensors=2),
}
# What ``auto`` means, by objective.
STUDY_OPTIMIZERS = {"classifier": "sgd", "clip": "adagrad"}


def state_tensors(values: Mapping[str, Any]) -> int:
    """Return how many tensors of a parameter's size the optimizer of a config keeps for it."""
    return OPTIMIZERS[values["optimizer"]].state_tensors + (values["momentum"] > 0)


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
    if row.fused and trained[0].device.type == "cpu":  # elsewhere it was not measured
        arguments["fused"] = True
    optimizer: torch.optim.Optimizer = kind(trained, lr=rate, **arguments)
    return optimizer
