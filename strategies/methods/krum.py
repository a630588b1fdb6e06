"""Krum: the model of the client that lies nearest to others.

Of n clients f may send anything. A client's score is the sum of its squared distances to the
n − f − 2 clients nearest to it; the next model is that of the client with the lowest score, the
first one of equals. That needs n ≥ 2f + 3. BatchNorm's statistics count in the distances and are
the chosen client's; integers take the largest value of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strategies.method import Key, Method, Settings

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

KEYS = {"byzantine-clients": Key(0, ge=0)}
PAPER = (
    "Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, 2017"
)


def least_replies(settings: Settings) -> int:
    """Return 2f + 3."""
    return 2 * int(settings["byzantine-clients"]) + 3


def flower(settings: Settings) -> Strategy:
    """Return Flower's Krum."""
    from flwr.serverapp.strategy import Krum

    return Krum(num_malicious_nodes=settings["byzantine-clients"])


METHOD = Method(
    title="Krum",
    paper=PAPER,
    equation="section 4",
    keys=KEYS,
    flower=flower,
    least_replies=least_replies,
    equal_weights=True,
)
