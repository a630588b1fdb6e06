"""The keys that rows of tables bring into the config."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import make_config
from training import optimizers
from training.config import DEFAULTS, parse
from training.declared_keys import KEYS, chosen_keys, keys_of, users_of, without_effect
from training.losses import OWN
from training.optimizers import OPTIMIZERS
from training.schedules import SCHEDULES
from training.study import resolve

ROOT = Path(__file__).parents[2]
TABLES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": OWN}


@pytest.mark.parametrize("table", TABLES)
def test_rows_that_share_a_key_declare_it_equally(table: str) -> None:
    """All tables together; methods among one another in their own test."""
    for key, said in keys_of(table).items():
        assert KEYS[key] is said
        users = [row for row in TABLES[table].values() if key in row.keys]
        for row in users:
            assert row.keys[key] == said
        assert len(users_of(key)) == len(users)
        assert DEFAULTS[key] == ("auto" if said.auto else said.default)


def test_only_the_chosen_rows_keys_are_read() -> None:
    read = chosen_keys(make_config(optimizer="adam", loss="focal", schedule="step").to_flat())
    assert list(read) == ["beta1", "beta2", "step-rounds", "step-factor", "focal-gamma"]
    assert list(chosen_keys(make_config(optimizer="sgd").to_flat())) == ["momentum"]
    assert users_of("beta1") == ["optimizer adam", "optimizer adamw"]


def test_keys_of_other_losses_and_schedules_have_no_effect_and_are_allowed() -> None:
    """As methods' keys, so that one file's base holds those of all trials."""
    values = {"focal-gamma": 1.0, "ldam-margin": 1.0, "step-rounds": 3, "proximal-mu": 1.0}
    assert values.items() <= parse(values).to_flat().items()


ROWS = """
from types import MappingProxyType
from strategies.method import Key
from training import losses, optimizers, schedules

def add(module, table, row):
    setattr(module, table, MappingProxyType({**getattr(module, table), "new": row}))

def keys(name):
    return {f"{name}-number": Key(3, ge=1), "shared-number": Key(0.5, gt=0, lt=1)}

add(optimizers, "OPTIMIZERS", optimizers.Optimizer("SGD", 0.1, 0.0, lambda values: 0,
    keys=keys("optimizer") | {"beta1": Key(0.5, ge=0, lt=1, auto=True)},
    arguments=lambda values: {"momentum": values["shared-number"] / values["optimizer-number"]}))
add(schedules, "SCHEDULES", schedules.Schedule(
    lambda values, done, length: values["shared-number"] ** values["schedule-number"],
    keys=keys("schedule")))
add(losses, "OWN", losses.Loss(lambda counts, values: values["loss-number"], keys=keys("loss")))
losses.LOSSES.own, losses.LOSSES._load_own = losses.OWN, losses.OWN.__getitem__
"""
USE = """
import torch
from operation.files import parse_toml
from training.config import parse
from training.errors import ConfigError
from training.study import resolve

chosen = {"optimizer": "new", "schedule": "new", "loss": "new"}
config = parse({**chosen, "schedule-number": 2, "loss-number": 5, "shared-number": 0.25})
config = resolve(config, dataset="ham10000", device="cpu", threads_per_client=1)
values = parse(parse_toml(config.to_toml())).to_flat()
(group,) = optimizers.build_optimizer(values, [torch.zeros(1)]).param_groups
print(group["momentum"] * 12, schedules.learning_rate(values, 1, 1), values["beta1"])
print(losses.loss_function(values, None), values["optimizer-number"])
for wrong in (
    {"loss-number": 0.5}, {"shared-number": 1}, {"schedule": "old"}, {"optimizer-number": 4}
):
    try:
        parse(wrong)
    except ConfigError as error:
        print(error)
"""


def test_a_row_that_is_added_brings_its_keys_and_its_name() -> None:
    """In a process of its own, since the config's class is made of the tables once."""
    command = [sys.executable, "-c", ROWS + USE]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        f"{12 * 0.25 / 3} {0.1 * 0.25**2} 0.5",
        "5 3",
        "loss-number = 0.5: allowed is an integer",
        "shared-number = 1: allowed is less than 1",
        "schedule = 'old': allowed is constant, cosine, step or new",
        "optimizer-number = 4: allowed with optimizer = new only, but optimizer = 'auto', which is "
        "sgd here",
    ]


def test_what_auto_means_for_an_optimizers_key() -> None:
    """The optimizer's own; 0 for one that does not read it."""
    assert optimizers.OPTIMIZERS["adam"].keys["beta2"].default == 0.98
    flat = {name: make_config(optimizer=name).to_flat() for name in ("adam", "sgd")}
    assert [(values["beta1"], values["beta2"]) for values in flat.values()] == [
        (0.9, 0.98),
        (0.0, 0.0),
    ]


def test_what_is_set_for_another_method_or_loss_is_told() -> None:
    config = make_config(strategy="ditto", ditto_lambda=3.0, focal_gamma=7.0, optimizer="sgd")
    assert list(without_effect(config.to_flat())) == [
        "focal-gamma = 7.0: has no effect, it is of loss focal"
    ]
    quiet = make_config(optimizer="adam", loss="focal")
    resolved = resolve(quiet, dataset="ham10000", device="cpu", threads_per_client=1)
    assert not list(without_effect(resolved.to_flat()))
