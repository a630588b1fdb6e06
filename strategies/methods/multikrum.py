"""MultiKrum: the mean of the n − f clients with the lowest scores of Krum.

With f = 0 it is FedAvg, to the bit. BatchNorm's statistics count in the distances and take the mean
of the chosen clients; integers take the largest value of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Method, Settings
from strategies.methods.krum import KEYS, PAPER, least_replies, mean_of_lowest

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy


def flower(settings: Settings) -> Strategy | None:
    """Return the choice of all but f of those that reply, or nothing if everyone is chosen."""
    byzantine = settings["byzantine-clients"]
    return mean_of_lowest(byzantine, lambda there: there - byzantine) if byzantine else None


METHOD = Method(
    title="MultiKrum",
    paper=PAPER,
    equation="section 4",
    keys=KEYS,
    flower=flower,
    least_replies=least_replies,
    equal_weights=True,
)
