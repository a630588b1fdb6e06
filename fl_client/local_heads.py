"""A client's own classical heads on the shared network's features."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_client.client import Client
from fl_client.local_model import open_model
from fl_client.local_training import Metrics
from models.heads import fit_head
from training.clip_text import ClipText
from training.head_settings import head_settings, heads_of
from training.network import features_of


def fit_heads_locally(
    client: Client,
    received: Mapping[str, NDArray],
    test_features: NDArray[np.float32],
    settings: Mapping[str, Any],
    text: ClipText | None = None,
) -> Metrics:
    """Fit heads on this client's training images and classify the global test set with them.

    The client's features never leave it; it returns only the classes of the received features.

    Args:
        client: the client with the training images; its config names the heads to fit. Their
            settings are used without tuning.
        received: the weights of the network that computes the features.
        test_features: (N, width), features of the global test set from the same network.
        settings: settings in the message, see `fl_client.local_model.open_model`.
        text: the text features for objective ``clip``; the heads use the features before the
            projection.

    Returns:
        ``<head>-predicted``, N classes, for each head; and ``num-examples``.

    Raises:
        HeadError: the client's images cannot train a head, for example if all have one class.
    """
    config = client.config
    model = open_model(client, received, settings, text)
    split = model.splits["train"]
    features = features_of(model.network, split, config)
    answers: Metrics = {"num-examples": len(split)}
    how = replace(head_settings(config), tune=False)
    for name in heads_of(config):
        head = fit_head(
            name,
            features,
            split.own_labels,
            settings=how,
            num_classes=client.num_classes,
            groups=None,
            allow_absent=True,
        )
        answers[f"{name}-predicted"] = head.predict(test_features).tolist()
    return answers
