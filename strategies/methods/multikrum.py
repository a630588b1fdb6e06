"""MultiKrum: the mean of the n − f clients with the lowest scores of Krum.

With f = 0 it is FedAvg, to the bit. BatchNorm's statistics count in the distances and take the mean
of the chosen clients; integers take the largest value of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from strategies.method import Method, Settings
from strategies.methods.krum import KEYS, PAPER, least_replies

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, Message, MetricRecord
    from flwr.serverapp.strategy import Strategy


def flower(settings: Settings) -> Strategy | None:
    """Return Flower's MultiKrum, or nothing if everyone is chosen."""
    from flwr.serverapp.strategy import MultiKrum

    byzantine = settings["byzantine-clients"]

    class AllButF(MultiKrum):
        """Chooses all but f of those that reply."""

        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            there = list(replies)
            self.num_nodes_to_select = len(there) - byzantine
            return super().aggregate_train(server_round, there)

    return AllButF(num_malicious_nodes=byzantine) if byzantine else None


METHOD = Method(
    title="MultiKrum",
    paper=PAPER,
    equation="section 4",
    keys=KEYS,
    flower=flower,
    least_replies=least_replies,
    equal_weights=True,
)
