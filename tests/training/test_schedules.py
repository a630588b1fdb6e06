"""The learning rate by round, beside PyTorch's own schedulers."""

import pytest
import torch

from tests.support import make_config
from training.schedules import SCHEDULES, learning_rate

ROUNDS = 12


def rates(rounds: int = ROUNDS, **settings: object) -> list[float]:
    values = make_config(learning_rate=0.3, **settings).to_flat()
    return [learning_rate(values, number, rounds) for number in range(1, rounds + 1)]


def torchs(make: object, rounds: int = ROUNDS) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    scheduler = make(optimizer)
    found = []
    for _ in range(rounds):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def test_constant_is_the_configs_to_the_bit() -> None:
    assert rates() == [0.3] * ROUNDS


def test_cosine_is_torchs() -> None:
    expected = torchs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=ROUNDS))
    assert rates(schedule="cosine") == pytest.approx(expected)


def test_step_is_torchs() -> None:
    expected = torchs(lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=5, gamma=0.5))
    found = rates(schedule="step", step_rounds=5, step_factor=0.5)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_evenly_and_then_the_schedule_begins(schedule: str) -> None:
    warm = rates(schedule=schedule, warmup_rounds=3, step_rounds=2)
    assert warm[:3] == pytest.approx([0.3 / 4, 0.6 / 4, 0.9 / 4])
    assert warm[3:] == rates(ROUNDS - 3, schedule=schedule, step_rounds=2)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_that_is_all_warm_up_has_a_rate_in_every_round(schedule: str) -> None:
    assert rates(2, schedule=schedule, warmup_rounds=5) == pytest.approx([0.05, 0.1])


@pytest.mark.parametrize("name, schedule", SCHEDULES.items())
def test_only_a_schedule_that_needs_the_length_depends_on_it(name: str, schedule: object) -> None:
    shorter, longer = rates(6, schedule=name), rates(9, schedule=name)
    assert (shorter != longer[:6]) == schedule.needs_length
