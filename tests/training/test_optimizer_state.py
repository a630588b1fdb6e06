from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl_client.local_training import train_locally
from tests.support import assert_same_bits, first_weights, make_client, make_config, same_bits
from training.optimizers import build_optimizer
from training.round_files import OptimizerStates

OPTIMIZERS = ("sgd", "sgd with momentum", "adam", "adamw", "adagrad", "adadelta")


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def optimizer_of(model: nn.Module, name: str) -> torch.optim.Optimizer:
    settings = {"optimizer": "sgd", "momentum": 0.9} if "momentum" in name else {"optimizer": name}
    return build_optimizer(make_config(learning_rate=0.1, **settings).to_flat(), model.parameters())


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    """A step on a batch that depends on its number only."""
    generator = torch.Generator().manual_seed(number)
    optimizer.zero_grad()
    model(torch.randn(6, 4, generator=generator)).square().sum().backward()
    optimizer.step()


def state(optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    return {
        f"{number}/{key}": value.numpy().copy()
        for number, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
        if value is not None
    }


def saved(folder: Path, *rounds: int, keep: str = "persistent") -> OptimizerStates:
    """States of Adam after these rounds, a step each: Adam's count of steps tells them apart."""
    states, model = OptimizerStates(folder, keep=keep), network()
    optimizer = optimizer_of(model, "adam")
    for number in rounds:
        step(model, optimizer, number)
        states.save(model, optimizer, number)
    return states


def loaded_steps(states: OptimizerStates, before: int) -> tuple[int, list[float]]:
    model = network()
    optimizer = optimizer_of(model, "adam")
    number = states.load(model, optimizer, before=before)
    return number, [float(entries["step"]) for entries in optimizer.state.values()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_comes_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    states, model = OptimizerStates(tmp_path, keep="persistent"), network()
    optimizer = optimizer_of(model, name)
    for number in range(3):
        step(model, optimizer, number)
    states.save(model, optimizer, 1)
    fresh = optimizer_of(model, name)
    assert states.load(model, fresh, before=2) == 1
    assert_same_bits(state(fresh), state(optimizer))
    assert bool(state(fresh)) == (name != "sgd")  # which has none without momentum


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_rounds_are_one_optimizer_stepped_through_both(tmp_path: Path, name: str) -> None:
    through, whole = network(), OptimizerStates(tmp_path, keep="persistent")
    one = optimizer_of(through, name)
    model = network()
    for number in (1, 2, 3):
        step(through, one, number)
        new = optimizer_of(model, name)
        whole.load(model, new, before=number)
        step(model, new, number)
        whole.save(model, new, number)
    weights = {n: t.numpy() for n, t in model.state_dict().items()}
    assert_same_bits(weights, {n: t.numpy() for n, t in through.state_dict().items()})
    assert_same_bits(state(new), state(one))


def test_a_round_starts_from_the_state_of_the_round_before(tmp_path: Path) -> None:
    states = saved(tmp_path, 1, 2)
    assert loaded_steps(states, before=3) == (2, [2.0] * 4)
    # Asked for again, though its state was already saved.
    assert loaded_steps(states, before=2) == (1, [1.0] * 4)
    assert loaded_steps(states, before=1) == (0, [])


def test_a_client_two_rounds_ahead_of_the_checkpoint_repeats_both(tmp_path: Path) -> None:
    """It saved rounds 3 and 4 when the server was killed with the weights of round 2 on disk."""
    states, model = saved(tmp_path, 1, 2, 3, 4), network()
    for number in (3, 4):
        optimizer = optimizer_of(model, "adam")
        assert states.load(model, optimizer, before=number) == number - 1
        step(model, optimizer, number)
        assert {float(entries["step"]) for entries in optimizer.state.values()} == {number}
        states.save(model, optimizer, number)


def test_a_client_that_missed_rounds_takes_its_newest(tmp_path: Path) -> None:
    assert loaded_steps(saved(tmp_path, 1, 4), before=9) == (4, [2.0] * 4)


def test_three_rounds_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 7, 8, 9, 10, 100_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "round-00009.safetensors",
        "round-00010.safetensors",
        "round-100000.safetensors",
    ]
    assert loaded_steps(OptimizerStates(tmp_path, keep="persistent"), before=100_000)[0] == 10


def test_saving_a_round_again_replaces_it(tmp_path: Path) -> None:
    states = saved(tmp_path, 1, 2)
    before = (tmp_path / "round-00002.safetensors").read_bytes()
    model = network()
    optimizer = optimizer_of(model, "adam")
    for number in (1, 2):
        step(model, optimizer, number)
    states.save(model, optimizer, 2)
    assert (tmp_path / "round-00002.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_fresh_optimizer_neither_reads_nor_writes(tmp_path: Path) -> None:
    assert loaded_steps(saved(tmp_path / "none", 1, keep="fresh"), before=2) == (0, [])
    assert not (tmp_path / "none").exists()
    saved(tmp_path, 1)
    assert loaded_steps(OptimizerStates(tmp_path, keep="fresh"), before=2) == (0, [])


@pytest.mark.parametrize("optimizer", [{"optimizer": "adam"}, {"momentum": 0.9}])
def test_a_client_takes_its_optimizer_from_round_to_round(
    tmp_path: Path, optimizer: dict[str, Any]
) -> None:
    """And a round that is asked for again, after a crash, gives the same answer."""
    received, settings = first_weights(), {"client-index": 0}
    config = make_config(client_optimizer="persistent", **optimizer)
    client = make_client(tmp_path, config, num_train=8)
    first, metrics = train_locally(client, received, {**settings, "round": 1})
    assert metrics["optimizer-round"] == 0
    second, metrics = train_locally(client, first, {**settings, "round": 2})
    assert metrics["optimizer-round"] == 1
    again, metrics = train_locally(client, first, {**settings, "round": 2})
    assert metrics["optimizer-round"] == 1
    assert_same_bits(again, second)

    forgetful = make_client(
        tmp_path / "other", config.replace(client_optimizer="fresh"), num_train=8
    )
    fresh_first, _ = train_locally(forgetful, received, {**settings, "round": 1})
    fresh_second, _ = train_locally(forgetful, first, {**settings, "round": 2})
    assert_same_bits(fresh_first, first)
    assert not same_bits(fresh_second, second)


@pytest.mark.parametrize("name", OPTIMIZERS[1:])
def test_a_state_has_the_memory_format_of_its_parameter(tmp_path: Path, name: str) -> None:
    """A kernel that is one pass over the memory reads both in the same order."""

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
        return model, optimizer_of(model, name)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        images = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(images.to(memory_format=torch.channels_last)).square().sum().backward()
        optimizer.step()

    states, (model, optimizer) = OptimizerStates(tmp_path, keep="persistent"), made()
    train(model, optimizer, 1)
    states.save(model, optimizer, 1)
    fresh = optimizer_of(model, name)
    states.load(model, fresh, before=2)
    for parameter in model.parameters():
        strides = {t.stride() for key, t in fresh.state[parameter].items() if key != "step"}
        assert strides == {parameter.stride()}
    through, one = made()
    for number in (1, 2):
        train(through, one, number)
    train(model, fresh, 2)
    assert_same_bits(state(fresh), state(one))


def test_only_the_count_of_steps_stays_off_the_device_of_its_parameter(tmp_path: Path) -> None:
    """A parameter without dimensions, a gain, has a state without dimensions."""

    class Gain(nn.Module):
        def __init__(self, device: str) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones((), device=device))

    states, model = OptimizerStates(tmp_path, keep="persistent"), Gain("cpu")
    optimizer = optimizer_of(model, "adam")
    model.gain.square().backward()
    optimizer.step()
    states.save(model, optimizer, 1)
    elsewhere = Gain("meta")  # a device that every machine has
    fresh = optimizer_of(elsewhere, "adam")
    states.load(elsewhere, fresh, before=2)
    devices = {key: tensor.device.type for key, tensor in fresh.state[elsewhere.gain].items()}
    assert devices == {"step": "cpu", "exp_avg": "meta", "exp_avg_sq": "meta"}
