"""The model that a message brings, and what it is trained and judged on here."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fl_client.client import Client
from models.backbones import Backbone
from training.feature_splits import open_feature_splits
from training.network import restore_network, restore_over_features
from training.split import Split
from training.text import Text


def open_model(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: Text | None,
) -> tuple[Backbone, Mapping[str, Split]]:
    """Return the model around received weights, on its device, and the client's splits for it.

    Where only a head or an adapter is trained, these hold features, and no trunk is built but
    the first time.

    Args:
        client: whose images they are.
        received: the weights, read only.
        settings: the message's: ``client-index``, and ``base``, the sha256 of the base, unless
            all is trained.
        text: what objective ``clip`` compares images with.

    Raises:
        TrainingError: the weights do not fit, or the base here is another.
        WeightsError: the base's pretrained weights are missing or unusable.
    """
    config = client.config
    if not config.on_features:
        base = settings.get("base")
        return restore_network(config, client.num_classes, received, text, base=base), client.splits
    splits = open_feature_splits(
        config,
        client.splits,
        fingerprint=client.fingerprint,
        client_index=int(settings["client-index"]),
        base=str(settings["base"]),
    )
    return restore_over_features(config, client.num_classes, received, text), splits
