"""Krum: the model of the client that lies nearest to others.

Of n clients f may send anything. A client's score is the sum of its squared distances to the
n − f − 2 clients nearest to it; the next model is that of the client with the lowest score, the
first one of equals. That needs n ≥ 2f + 3. BatchNorm's statistics count in the distances and are
the chosen client's; integers take the largest value of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from strategies.method import Key, Method, Settings

if TYPE_CHECKING:
    import numpy as np
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp.strategy import Strategy
    from numpy.typing import NDArray

KEYS = {"byzantine-clients": Key(0, ge=0)}
PAPER = (
    "Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, 2017"
)


def least_replies(settings: Settings) -> int:
    """Return 2f + 3."""
    return 2 * int(settings["byzantine-clients"]) + 3


def distances_of(contents: Sequence[RecordDict]) -> NDArray[np.floating]:
    """Return the squared distances between replies, (n, n), infinite from each to itself.

    They are Flower's, but the same in both directions: Flower's two are rounded differently.

    Args:
        contents: each with one record of arrays.
    """
    import numpy as np

    from operation.flower_internals import compute_distances

    distances = compute_distances([next(iter(c.array_records.values())) for c in contents])
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, np.inf)
    return distances


def lowest(distances: NDArray[np.floating], byzantine: int, number: int) -> list[int]:
    """Return which replies have the lowest scores, in their order; of equals the first.

    Flower's own choice leaves equals to the processor's rounding. And equals there are: with one
    neighbour in the sum, as of three clients, the two nearest have the same score.

    Args:
        distances: of at least two replies, from `distances_of`.
        byzantine: f. With f + 2 replies or fewer the score is the distance to the nearest.
        number: how many to return.
    """
    import numpy as np

    neighbours = max(1, len(distances) - byzantine - 2)
    scores = np.sort(distances, axis=1)[:, :neighbours].sum(axis=1)
    return sorted(np.argsort(scores, kind="stable")[:number].tolist())


def mean_of_lowest(byzantine: int, number: Callable[[int], int]) -> Strategy:
    """Return Flower's mean of the replies that `lowest` names.

    Args:
        number: returns how many, of so many replies.
    """
    from flwr.serverapp.strategy import FedAvg

    class MeanOfLowest(FedAvg):
        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            there = list(replies)
            distances = distances_of([reply.content for reply in there])
            chosen = lowest(distances, byzantine, number(len(there)))
            return super().aggregate_train(server_round, [there[index] for index in chosen])

    return MeanOfLowest()


def flower(settings: Settings) -> Strategy:
    """Return the choice of one."""
    return mean_of_lowest(settings["byzantine-clients"], lambda _: 1)


METHOD = Method(
    title="Krum",
    paper=PAPER,
    equation="section 4",
    keys=KEYS,
    flower=flower,
    least_replies=least_replies,
    equal_weights=True,
)
