"""The model that a site stores at the end of a run."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fl_client.client import Client
from training.clip_text import ClipText
from training.model_file import ModelFile
from training.task import Task


def save_final_model(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: ClipText | None,
) -> None:
    """Write an evaluated model to ``model.safetensors`` in the client's folder.

    The last model is evaluated first and the best one, if it is another, after it, so the file has
    the best one in the end.

    The file contains the whole network, base and sent part, so it needs nothing else.

    Args:
        client: a site's client.
        received: the weights of the sent part.
        settings: settings in the message: ``run``; ``round``, the round of the weights; and
            ``base``, the sha256 of the base, unless the whole network is trained.
    """
    config, weights = client.config, received
    if config.trainable != "all":
        base = str(settings["base"])
        on_cpu = config.replace(device="cpu", precision="float32")
        network = Task(on_cpu, client.num_classes, text, base).restore(received)
        weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    ModelFile(
        config=config.replace(data_dir="", cache_dir="", weights_dir=""),
        classes=client.classes,
        weights=weights,
        text=text,
        run=str(settings["run"]),
        round=int(settings["round"]),
        synthetic=client.synthetic,
    ).save(client.folder / "model.safetensors")
