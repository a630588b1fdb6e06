"""A client's own classical heads on the shared network's features."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.local_training import Metrics
from models.heads import HeadSettings, fit_head
from models.registry import find
from training.inference import extract_features
from training.network import preprocessing, restore_network
from training.text import Text

CLIENT_HEADS = ("knn", "svm")


def fit_heads_locally(
    client: Client,
    received: Mapping[str, NDArray],
    test_features: NDArray[np.float32],
    settings: HeadSettings,
    text: Text | None = None,
) -> Metrics:
    """Fit heads on this client's training images and classify the global test set with them.

    The client's features never leave it; what goes back are its answers to features that came.

    Args:
        client: whose images are learnt from.
        received: the weights of the network whose features are used.
        test_features: (N, width), of the global test set, from the same network.
        settings: of the heads; they are taken as they stand, never tuned.
        text: what objective ``clip`` compares images with; the features are those before it.

    Returns:
        ``<head>-predicted``, N classes, for each of ``CLIENT_HEADS``; and ``num-examples``.

    Raises:
        HeadError: the client's images cannot train a head, for instance all are of one class.
    """
    config, split = client.config, client.splits["train"]
    features = extract_features(
        restore_network(config, client.num_classes, received, text),
        split.images,
        split.indices,
        width=find(config.backbone).width,
        batch_size=config.batch_size,
        preprocessing=preprocessing(config),
        precision=config.precision,
    )
    answers: Metrics = {"num-examples": len(split)}
    for name in CLIENT_HEADS:
        head = fit_head(
            name,
            features,
            split.labels[split.indices],
            settings=replace(settings, tune=False),
            num_classes=client.num_classes,
            groups=None,
            allow_absent=True,
        )
        answers[f"{name}-predicted"] = head.predict(test_features).tolist()
    return answers
