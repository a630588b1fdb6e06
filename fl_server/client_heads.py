"""Evaluation of each client's own heads on the global test set, next to the shared network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from models.backbones import Backbone
from strategies.arrays import to_record
from strategies.averaging import Averaging
from training.config import ExperimentConfig
from training.metrics import confusion_matrix
from training.network import features_of
from training.score_counts import ScoreCounts
from training.scores import score_block
from training.split import GlobalTestSet


def judge_client_heads(
    grid: Grid,
    strategy: Averaging,
    arrays: ArrayRecord,
    network: Backbone,
    config: ExperimentConfig,
    test_data: GlobalTestSet,
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """Let every client fit its own heads and classify the global test set.

    Args:
        arrays: the weights of ``network``, as sent.
        network: its features are used; on its device.
        test_data: the global test set; only its features are sent.

    Returns:
        By client the metric block of each head, or ``failed`` with the cause.
    """
    split = test_data.split
    features = features_of(network, split, config)
    messages = strategy.query_messages(
        "heads",
        arrays,
        settings,
        {"test": to_record({"features": features})},
    )
    replies = strategy.read_query(grid.send_and_receive(messages, timeout=config.longest_round))
    labels = split.labels[split.indices]
    result: dict[str, Any] = {}
    num_classes = len(test_data.classes)
    for reply in replies.accepted:
        answers = {
            key.removesuffix("-predicted"): np.array(value, dtype=np.int64)
            for key, value in reply.metrics.items()
            if key.endswith("-predicted")
        }
        result[reply.client] = {
            head: score_block(ScoreCounts(confusion_matrix(labels, predicted, num_classes)))
            for head, predicted in answers.items()
        }
    for client, cause in replies.failures.items():
        result[client] = {"failed": cause}
    return result
