"""Judging: figures from the clients' confusion matrices, and the models on the test sets."""

from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from data_partition.image_store import ImageStore
from models.backbones import build_empty
from models.registry import find
from strategies.fedavg import FedAvg
from strategies.replies import Replies
from training.config import ExperimentConfig
from training.epoch import Evaluation, Preprocessing, evaluate
from training.experiment_data import whole
from training.metrics import Confusion, metric_block, pool
from training.weights import Weights

# Flower keeps a message this long; who has not answered by then is lost.
ANSWER_SECONDS = 12 * 3600.0


def figures(replies: Replies, split: str, num_classes: int) -> dict[str, Any]:
    """Return what the clients found on one of their splits, each alone and pooled.

    Args:
        replies: with ``<split>-confusion``, ``-loss`` and ``-examples`` among their metrics.
        split: ``validation`` or ``test``.
        num_classes: K.

    Returns:
        ``clients`` by name and ``pooled``, each a metric block with ``loss``. The pooled figures
        are those of the summed confusion matrices, the pooled loss is the mean over all images.
    """
    clients: dict[str, dict[str, Any]] = {}
    matrices: list[Confusion] = []
    total_loss = 0.0
    for reply in replies.accepted:
        counts = np.array(reply.metrics[f"{split}-confusion"], dtype=np.int64)
        matrices.append(counts.reshape(num_classes, num_classes))
        loss = float(str(reply.metrics[f"{split}-loss"]))
        clients[reply.client] = {**metric_block(matrices[-1]), "loss": loss}
        total_loss += loss * int(counts.sum())
    pooled = pool(matrices, num_classes)
    mean_loss = total_loss / max(1, int(pooled.sum()))
    return {"clients": clients, "pooled": {**metric_block(pooled), "loss": mean_loss}}


def ask(
    grid: Grid,
    strategy: FedAvg,
    arrays: ArrayRecord,
    *,
    experiment: str,
    splits: str,
) -> Replies:
    """Have every client judge a model on some of its splits.

    Raises:
        TooFewReplies: too few clients answered.
    """
    messages = strategy.evaluation_messages(arrays, {"experiment": experiment, "splits": splits})
    return strategy.read_evaluation(grid.send_and_receive(messages, timeout=ANSWER_SECONDS))


def judge_globally(
    config: ExperimentConfig, weights: Weights, test_data: ImageStore, num_classes: int
) -> Evaluation:
    """Judge a model on the global test set, here at the server."""
    model = build_empty(config.backbone, num_classes, image_size=config.image_size)
    model.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in weights.items()})
    spec = find(config.backbone)
    return evaluate(
        model.to(config.device),
        whole(test_data),
        num_classes=num_classes,
        batch_size=config.batch_size,
        preprocessing=Preprocessing(config.image_size, spec.mean, spec.std),
        precision=config.precision,
    )
