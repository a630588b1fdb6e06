"""FedNova: each client's update is divided by its number of local steps before the mean is taken.

Client i takes τ_i steps and its weight is p_i, with Σ p_i = 1. With τ_eff = Σ p_i τ_i the server
takes w_glo ← w_glo − τ_eff Σ p_i (w_glo − w_i)/τ_i. That is for plain SGD, where all a_i are 1.

It is computed from the mean with the weights p_i/τ_i: with that, w_glo ← w_glo + s (mean − w_glo)
and s = τ_eff Σ p_i/τ_i ≥ 1, which is 1 exactly where all τ_i are equal.

BatchNorm's statistics take the mean with the weights p_i/τ_i, integers the largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from strategies.field_kinds import Count
from strategies.method import (
    Aggregation,
    ClientHalf,
    LocalTraining,
    Method,
    Scalars,
    Settings,
    State,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = "local-steps"


class Counting(ClientHalf):
    """Counts the local steps."""

    def __init__(self, training: LocalTraining) -> None:
        self._scalars = training.scalars
        self._scalars[STEPS] = 0

    def before_step(self) -> None:
        """Count a step."""
        self._scalars[STEPS] += 1


def steps_of(settings: Settings, images: int | None) -> Count:
    """Return the number of local steps of a client with so many training images.

    Each epoch has its batches; a last one of a single image is part of the one before. A step is of
    one batch, or of the accumulated gradients of several; in an epoch's last step, of what is left.
    """
    if images is None:
        return Count(least=1)
    at_once = settings["batch-size"] * settings["accumulate-batches"]
    steps = settings["local-epochs"] * ceil((images - 1) / at_once)
    return Count(steps, least=steps)


def weight(scalars: Scalars) -> Fraction:
    """Return 1/τ_i."""
    return Fraction(1, int(scalars[STEPS]))


def scale_of(replies: Sequence[tuple[float, Scalars]]) -> float:
    """Return s = τ_eff Σ p_i/τ_i, rounded once."""
    weights = [Fraction(n) for n, _ in replies]
    steps = [int(scalars[STEPS]) for _, scalars in replies]
    effective = sum(n * t for n, t in zip(weights, steps, strict=True))
    inverse = sum(n / t for n, t in zip(weights, steps, strict=True))
    return float(effective * inverse / sum(weights) ** 2)


def server_step(now: Aggregation) -> tuple[NDArray, State]:
    """Return w_glo + s (mean − w_glo)."""
    scale = scale_of(now.replies)
    return now.mean if scale == 1 else now.weights + scale * (now.mean - now.weights), {}


METHOD = Method(
    title="FedNova",
    paper="Wang et al., Tackling the Objective Inconsistency Problem in Heterogeneous Federated "
    "Optimization, 2020",
    equation="w ← w − τ_eff Σ p_i η d_i",
    scalars={STEPS: steps_of},
    weight=weight,
    server_step=server_step,
    client_half=Counting,
    sgd_only=True,
)
