"""The record of one round of a federation, as in ``rounds.jsonl``."""

from typing import Any

import numpy as np
from flwr.app import ArrayRecord

from fl_server.federated_config import makespan
from strategies.arrays import num_bytes
from strategies.averaging import Averaging


def round_record(
    number: int, strategy: Averaging, arrays: ArrayRecord, side_by_side: int
) -> dict[str, Any]:
    """Return the record of a round that was just averaged, without the time of the whole round.

    Args:
        strategy: its ``replies`` are those of the round.
        arrays: as many as the clients were sent.
        side_by_side: number of clients that worked at the same time, ≥ 1.
    """
    replies = strategy.replies
    clients = {
        reply.client: {
            "examples": reply.metrics["num-examples"],
            "train_loss": reply.metrics["train-loss"],
            "optimizer_round": reply.metrics["optimizer-round"],
            "bytes_received": reply.num_bytes,
            "update": strategy.updates[reply.client],
            "seconds": {
                key.removeprefix("seconds-"): value
                for key, value in reply.metrics.items()
                if key.startswith("seconds-")
            },
        }
        for reply in replies.accepted
    }
    examples = [int(str(reply.metrics["num-examples"])) for reply in replies.accepted]
    losses = [float(str(reply.metrics["train-loss"])) for reply in replies.accepted]
    working = [float(str(reply.metrics["seconds-message"])) for reply in replies.accepted]
    busy = makespan(working, side_by_side)
    travelling = [arrays, *strategy.constants.values()]
    return {
        "round": number,
        "train_loss": float(np.average(losses, weights=examples)),
        "examples": sum(examples),
        "bytes_sent": (len(replies.accepted) + len(replies.failures))
        * sum(num_bytes(record) for record in travelling if isinstance(record, ArrayRecord)),
        "bytes_received": sum(reply.num_bytes for reply in replies.accepted),
        "seconds": {
            **strategy.seconds,
            "waiting": busy - max(working),
            "transport": max(0.0, strategy.seconds["clients"] - busy),
        },
        "clients": clients,
        "failures": replies.failures,
        "warnings": strategy.warnings,
    }
