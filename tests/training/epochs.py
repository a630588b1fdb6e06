"""Small networks over made features, trained and evaluated."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import UNCHANGED, Recorder
from training.epoch import Evaluation, evaluate, train_epoch
from training.split import Split

SIDE = UNCHANGED.image_size
FEATURES = 3 * SIDE * SIDE


def train(
    model: nn.Module, split: Split, *, seed: int = 0, rate: float = 0.1, **more: Any
) -> float:
    settings = {"batch_size": 4, "weight_decay": 0.0, **more}
    decay = settings.pop("weight_decay")
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    return train_epoch(
        model, split, optimizer, preprocessing=UNCHANGED, generator=generator, **settings
    )


def judge(model: nn.Module, split: Split, batch_size: int = 4, classes: int = 3) -> Evaluation:
    return evaluate(
        model, split, num_classes=classes, batch_size=batch_size, preprocessing=UNCHANGED
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def logits_of(model: Recorder, split: Split) -> np.ndarray:
    """Of unchanged images, computed apart in float64."""
    pixels = split.images[split.indices].transpose(0, 3, 1, 2).reshape(len(split), -1) / 255
    weight, bias = (p.detach().double().numpy() for p in model.linear.parameters())
    return pixels @ weight.T + bias


@pytest.fixture(autouse=True)
def torch_seed() -> Iterator[None]:
    """Models here draw their first weights from the global generator; give it back after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
