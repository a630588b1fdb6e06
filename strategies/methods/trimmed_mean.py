"""Trimmed mean: of every weight the mean of the clients' values without the largest and smallest.

At each end the values of k clients are left out; the paper's β is k/n with n clients. k = 0 is
FedAvg, to the bit. BatchNorm's statistics are trimmed too, so a variance is never negative;
integers take the largest value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from strategies.method import Key, Method, Settings
from strategies.methods.median import PAPER

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, Message, MetricRecord
    from flwr.serverapp.strategy import Strategy


def flower(settings: Settings) -> Strategy | None:
    """Return Flower's trimmed mean, or nothing if nobody is left out."""
    from flwr.serverapp.strategy import FedTrimmedAvg

    trimmed = settings["trimmed-clients"]

    class Trimmed(FedTrimmedAvg):
        """Leaves out the same number of clients, however many reply."""

        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            there = list(replies)
            # Flower rounds βn down; a quarter is more than the error of βn and keeps β below 1/2.
            self.beta = (trimmed + 0.25) / len(there)
            return super().aggregate_train(server_round, there)

    return Trimmed() if trimmed else None


METHOD = Method(
    title="Trimmed mean",
    paper=PAPER,
    equation="Definition 2",
    keys={"trimmed-clients": Key(1, ge=0)},
    flower=flower,
    least_replies=lambda settings: 2 * settings["trimmed-clients"] + 1,
    equal_weights=True,
)
