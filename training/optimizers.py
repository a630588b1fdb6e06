"""The five optimizers of the study (docs/study.md)."""

from collections.abc import Iterable

import torch
from torch import nn

from training.config import ExperimentConfig


def keeps_state(config: ExperimentConfig) -> bool:
    """Return whether the optimizer of a resolved config has state between steps."""
    return config.optimizer != "sgd" or config.momentum > 0


def build(config: ExperimentConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer that a resolved config names, with its learning rate and weight decay.

    The values come from the study (its table of optimizers, which gives SGD no momentum) unless
    the config sets others.

    Args:
        config: resolved, so nothing in it is ``auto``.
        parameters: the trained parameters.
    """
    rate, decay = float(config.learning_rate), float(config.weight_decay)
    betas = (float(config.beta1), float(config.beta2))
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                parameters, lr=rate, momentum=config.momentum, weight_decay=decay
            )
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, betas=betas)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, betas=betas)
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr=rate, weight_decay=decay)
        case "adadelta":
            return torch.optim.Adadelta(parameters, lr=rate, weight_decay=decay)
        case other:
            raise AssertionError(f"optimizer {other!r} in a resolved config")
