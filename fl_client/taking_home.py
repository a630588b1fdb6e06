"""The model that a site keeps when a run ends."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fl_client.client import Client
from training.model_file import ModelFile
from training.text import Text


def take_home(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: Text | None,
) -> None:
    """Write a judged model to ``model.safetensors`` in the client's folder.

    The last model is judged first and the best one, if it is another, after it: so what is left
    in the end is the best.

    Args:
        client: a site's.
        received: the weights.
        settings: the message's: ``run``, and ``round``, the one that the weights are of.
        text: what objective ``clip`` compares images with.
    """
    ModelFile(
        config=client.config.replace(data_dir="", cache_dir="", weights_dir=""),
        classes=client.classes,
        weights=received,
        text=text,
        run=str(settings["run"]),
        round=int(settings["round"]),
        synthetic=client.synthetic,
    ).save(client.folder / "model.safetensors")
