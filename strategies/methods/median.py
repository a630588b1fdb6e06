"""Median: of every weight the median of the clients' values, so that a minority cannot move it far.

With an even number of clients it is the mean of the two in the middle. BatchNorm's statistics take
the median too, so a variance is never negative; integers take the largest value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Method, Settings

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

PAPER = "Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, 2018"


def flower(_settings: Settings) -> Strategy:
    """Return Flower's median."""
    from flwr.serverapp.strategy import FedMedian

    return FedMedian()


METHOD = Method(
    title="Median",
    paper=PAPER,
    equation="Definition 1",
    flower=flower,
    least_replies=lambda _settings: 3,  # of two it is their mean
    equal_weights=True,
)
