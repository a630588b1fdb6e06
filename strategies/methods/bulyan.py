"""Bulyan: of every weight the mean of the values nearest to the median of the clients Krum chooses.

Of n clients f may send anything. θ = n − 2f are chosen one after the other, each by Krum among
those that are left; of every weight, the θ − 2f values nearest to their median are averaged. That
needs n ≥ 4f + 3. With f = 0 it is FedAvg, to the bit. Where Krum has f + 2 clients or fewer left,
its score is the distance to the nearest: so of the last 2f + 1, with f of 1 or 2, two are always
equal, and the first of them is chosen.
BatchNorm's statistics are treated like weights; integers take the largest value of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Method, Settings
from strategies.methods.krum import KEYS, distances_of, lowest

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from flwr.serverapp.strategy import Strategy


def by_krum(contents: list[RecordDict], byzantine: int, number: int) -> list[RecordDict]:
    """Choose replies one after the other; Flower's own rule for Bulyan takes all in one go."""
    distances, left, chosen = distances_of(contents), list(range(len(contents))), []
    for _ in range(number):
        among_these = distances[left][:, left]
        chosen.append(left.pop(lowest(among_these, byzantine, 1)[0]))
    return [contents[index] for index in chosen]


def flower(settings: Settings) -> Strategy | None:
    """Return Flower's Bulyan, or nothing if everything is averaged."""
    from flwr.serverapp.strategy import Bulyan

    byzantine = settings["byzantine-clients"]
    if not byzantine:
        return None
    return Bulyan(num_malicious_nodes=byzantine, selection_rule=by_krum)


METHOD = Method(
    title="Bulyan",
    paper="El Mhamdi et al., The Hidden Vulnerability of Distributed Learning in Byzantium, 2018",
    equation="section 4",
    keys=KEYS,
    flower=flower,
    least_replies=lambda settings: 4 * int(settings["byzantine-clients"]) + 3,
    equal_weights=True,
)
