"""The learning rate over the rounds of a federation, or the epochs of a centralized run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from training.config import ExperimentConfig


@dataclass(frozen=True)
class Schedule:
    """A row of the table."""

    # Of the learning rate, from the config, the number of rounds since warm-up, and the number of
    # all rounds after it.
    factor: Callable[[ExperimentConfig, int, int], float]
    needs_length: bool = False  # whether more rounds in all change the rates of the first ones


def _cosine(_: ExperimentConfig, done: int, length: int) -> float:
    """Loshchilov and Hutter, SGDR, 2017, Equation 5, without restarts, down to 0."""
    return (1 + math.cos(math.pi * done / length)) / 2


SCHEDULES: Mapping[str, Schedule] = {
    "constant": Schedule(lambda config, done, length: 1.0),
    "cosine": Schedule(_cosine, needs_length=True),
    "step": Schedule(
        lambda config, done, length: config.step_factor ** (done // config.step_rounds)
    ),
}


def learning_rate(config: ExperimentConfig, round_number: int, rounds: int) -> float:
    """Return the learning rate of a round.

    In the first ``warmup-rounds`` = W rounds it rises evenly, r/(W + 1) of the whole in round r.

    Args:
        round_number: r, from 1.
        rounds: of the whole run; epochs of a centralized one.
    """
    rate, warmup = float(config.learning_rate), config.warmup_rounds
    if round_number <= warmup:
        return rate * round_number / (warmup + 1)
    schedule = SCHEDULES[config.schedule]
    return rate * schedule.factor(config, round_number - 1 - warmup, max(1, rounds - warmup))
