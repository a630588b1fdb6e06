"""Evaluation: the clients' replies, and metrics from their confusion matrices."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from strategies.averaging import Averaging
from strategies.replies import Replies, Reply
from training.metrics import Confusion, metric_block, pool


def client_metrics(replies: Replies, split: str, num_classes: int) -> dict[str, Any]:
    """Return the clients' metrics on one of their splits, by client and pooled.

    Args:
        replies: with the metrics ``<split>-confusion``, ``-loss`` and ``-examples``.
        split: ``validation`` or ``test``.
        num_classes: K.

    Returns:
        ``clients`` by name and ``pooled``, each a metric block with ``loss``, and with ``patients``
        if the client, or any client, knows them. The pooled metrics are those of the summed
        confusion matrices, the pooled loss is the mean over all images. ``missing`` has, by name,
        the reason why a client that was asked is not pooled; the pooled ``patients`` have their
        own, since a client may send counts of images only.
    """
    clients: dict[str, dict[str, Any]] = {}
    images: list[Confusion] = []
    patients: list[Confusion] = []
    unknown: dict[str, str] = {}
    total_loss = 0.0

    def counts(reply: Reply, key: str) -> Confusion:
        return np.array(reply.metrics[key], dtype=np.int64).reshape(num_classes, num_classes)

    for reply in replies.accepted:
        images.append(counts(reply, f"{split}-confusion"))
        loss = float(str(reply.metrics[f"{split}-loss"]))
        clients[reply.client] = {**metric_block(images[-1]), "loss": loss}
        total_loss += loss * int(images[-1].sum())
        if f"{split}-patient-confusion" in reply.metrics:
            patients.append(counts(reply, f"{split}-patient-confusion"))
            clients[reply.client]["patients"] = metric_block(patients[-1])
        else:
            unknown[reply.client] = "sends no counts of patients"
    matrix = pool(images, num_classes)
    pooled: dict[str, Any] = {
        **metric_block(matrix),
        "loss": total_loss / max(1, int(matrix.sum())),
        "missing": dict(replies.failures),
    }
    if patients:
        pooled["patients"] = {
            **metric_block(pool(patients, num_classes)),
            "missing": {**replies.failures, **unknown},
        }
    return {"clients": clients, "pooled": pooled}


def evaluate_on_clients(
    grid: Grid,
    strategy: Averaging,
    arrays: ArrayRecord,
    settings: Mapping[str, str | int],
    timeout: float,
) -> Replies:
    """Let every client evaluate a model on some of its splits.

    Args:
        grid, strategy: of the run.
        arrays: the model's weights.
        settings: settings in every message: ``experiment``, ``round``, the round of the weights,
            and ``splits``, comma-separated.
        timeout: seconds after which clients are no longer waited for.

    Raises:
        TooFewReplies: too few clients replied.
    """
    messages = strategy.evaluation_messages(arrays, settings)
    return strategy.read_evaluation(grid.send_and_receive(messages, timeout=timeout))
