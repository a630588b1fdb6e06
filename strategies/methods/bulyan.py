"""Bulyan: of every weight the mean of the values nearest to the median of the clients Krum chooses.

Of n clients f may send anything. The θ = n − 2f with the lowest scores of Krum are chosen at once,
as in Flower, where the paper takes one after the other; of every weight, the θ − 2f values nearest
to their median are averaged. That needs n ≥ 4f + 3. With f = 0 it is FedAvg, to the bit.
BatchNorm's statistics are treated like weights; integers take the largest value of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Method, Settings
from strategies.methods.krum import KEYS

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy


def flower(settings: Settings) -> Strategy | None:
    """Return Flower's Bulyan, or nothing if everything is averaged."""
    from flwr.serverapp.strategy import Bulyan

    byzantine = settings["byzantine-clients"]
    return Bulyan(num_malicious_nodes=byzantine) if byzantine else None


METHOD = Method(
    title="Bulyan",
    paper="El Mhamdi et al., The Hidden Vulnerability of Distributed Learning in Byzantium, 2018",
    equation="section 4",
    keys=KEYS,
    flower=flower,
    least_replies=lambda settings: 4 * int(settings["byzantine-clients"]) + 3,
    equal_weights=True,
)
