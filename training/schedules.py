"""The learning rate over the rounds of a federation, or the epochs of a centralized run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from strategies.method import Key, Settings


@dataclass(frozen=True)
class Schedule:
    """A row of the table.

    Attributes:
        factor: of the learning rate, from the config's keys, the number of rounds since warm-up,
            and the number of all rounds after it.
        needs_length: whether more rounds in all change the rates of the first ones.
        keys: the config's keys that it reads. Two schedules may declare the same key, if equally.
    """

    factor: Callable[[Settings, int, int], float]
    needs_length: bool = False
    keys: Mapping[str, Key] = field(default_factory=dict)


def _cosine(_: Settings, done: int, length: int) -> float:
    """Loshchilov and Hutter, SGDR, 2017, Equation 5, without restarts, down to 0."""
    return (1 + math.cos(math.pi * done / length)) / 2


SCHEDULES: Mapping[str, Schedule] = {
    "constant": Schedule(lambda settings, done, length: 1.0),
    "cosine": Schedule(_cosine, needs_length=True),
    "step": Schedule(
        lambda settings, done, length: settings["step-factor"] ** (done // settings["step-rounds"]),
        keys={"step-rounds": Key(20, ge=1), "step-factor": Key(0.1, gt=0, le=1)},
    ),
}


def learning_rate(settings: Settings, round_number: int, rounds: int) -> float:
    """Return the learning rate of a round.

    In the first ``warmup-rounds`` = W rounds it rises evenly, r/(W + 1) of the whole in round r.

    Args:
        settings: the flat keys of a resolved config.
        round_number: r, from 1.
        rounds: of the whole run; epochs of a centralized one.
    """
    rate, warmup = float(settings["learning-rate"]), settings["warmup-rounds"]
    if round_number <= warmup:
        return rate * round_number / (warmup + 1)
    schedule = SCHEDULES[settings["schedule"]]
    done, length = round_number - 1 - warmup, max(1, rounds - warmup)
    return rate * schedule.factor(settings, done, length)
