"""A network that is used again for the next message is as a new one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support import assert_same_bits, make_config
from training.network import sent_part
from training.optimizers import build_optimizer
from training.split import Split
from training.task import Task
from training.weights import Weights

TASK = Task(make_config(backbone="resnet18", image_size=32, batch_size=4), 7)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 37, 37, 3), dtype=np.uint8)
SPLIT = Split(IMAGES, np.arange(8) % 7, np.arange(8))


def trained(weights: Weights, *, reuse: bool) -> Weights:
    network = TASK.restore(weights, reuse=reuse)
    optimizer = build_optimizer(TASK.config.to_flat(), network.trained().values())
    TASK.train(network, SPLIT, optimizer, round_number=1, rounds=1)
    TASK.evaluate(network, SPLIT)
    return {name: array.copy() for name, array in sent_part(network).items()}


def test_it_has_the_new_weights_and_nothing_of_the_earlier_training() -> None:
    first = sent_part(TASK.build())
    expected = trained(trained(first, reuse=False), reuse=False)
    assert_same_bits(trained(trained(first, reuse=True), reuse=True), expected)
    again = TASK.restore(first, reuse=True)
    assert again is TASK.restore(first, reuse=True)
    assert all(parameter.grad is None for parameter in again.parameters())
    assert again is not TASK.restore(first)


def test_tensors_outside_the_weights_could_be_changed_by_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So such a network is not used again, and neither is one with a frozen part."""
    first = sent_part(TASK.build())
    built = torch.nn.Module.__init__

    def with_a_secret(module: torch.nn.Module) -> None:
        built(module)
        module.register_buffer("secret", torch.zeros(1), persistent=False)

    from training import task

    task._kept_network.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "__init__", with_a_secret)
        assert TASK.restore(first, reuse=True) is not TASK.restore(first, reuse=True)
    task._kept_network.cache_clear()


def test_the_config_decides_about_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def spying(*_: object, sampler: str, **__: object) -> float:
        asked.append(sampler)
        return 0.0

    monkeypatch.setattr("training.task.train_epoch", spying)
    network = TASK.build()
    optimizer = build_optimizer(TASK.config.to_flat(), network.trained().values())
    for name in ("shuffled", "balanced"):
        task = replace(TASK, config=TASK.config.replace(sampler=name))
        task.train(network, SPLIT, optimizer, round_number=1, rounds=1)
    assert asked == ["shuffled", "balanced"]
