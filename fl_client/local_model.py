"""The model in a message, and the data for its training and evaluation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch.optim import Optimizer

from fl_client.client import Client
from models.backbones import Backbone
from strategies.expected_replies import CLASS_COUNTS
from training.clip_text import ClipText
from training.feature_splits import open_feature_splits
from training.model_file import ModelFile
from training.split import Split
from training.task import Task

REFERENCE = "reference"


@dataclass(frozen=True)
class LocalModel:
    """A model at a client, on its device, with the client's splits for it.

    Attributes:
        settings: of the message with the model; for training ``client-index``, and the federation's
            ``class-counts`` if they are asked for.
        splits: the client's own, and `REFERENCE`, if the client has it.
    """

    client: Client
    settings: Mapping[str, Any]
    task: Task
    network: Backbone
    splits: Mapping[str, Split]

    def train(
        self,
        optimizer: Optimizer,
        *,
        round_number: int,
        epochs: int,
        before_step: Callable[[], None] | None = None,
    ) -> float:
        """Train it as in a round, and return the mean loss; see `training.task.Task.train`."""
        return self.task.train(
            self.network,
            self.splits["train"],
            optimizer,
            round_number=round_number,
            rounds=self.client.config.rounds,
            client_index=int(self.settings["client-index"]),
            epochs=epochs,
            class_counts=self.settings.get(CLASS_COUNTS),
            before_step=before_step,
            reference=self.splits.get(REFERENCE),
        )


def open_model(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: ClipText | None,
    *,
    reuse: bool = False,
) -> LocalModel:
    """Return a model with the received weights, on its device.

    If only a head or an adapter is trained, the splits contain features, and no trunk is built
    after the first time.

    Args:
        received: the weights, read only.
        settings: settings in the message: ``client-index``, and ``base``, the sha256 of the base,
            unless the whole network is trained.
        reuse: as in `training.task.Task.restore`.

    Raises:
        TrainingError: the weights do not fit, or this client has another base.
        WeightsError: the base's pretrained weights are missing or unusable.
    """
    config, given = client.config, client.reference
    task = Task(config, client.num_classes, text, settings.get("base"))
    reference = {} if given is None else {REFERENCE: given.split}
    if not config.on_features:
        network = task.restore(received, reuse=reuse)
        return LocalModel(client, settings, task, network, {**client.splits, **reference})
    base = str(settings["base"])
    splits = open_feature_splits(
        config,
        client.splits,
        fingerprint=client.fingerprint,
        client_index=int(settings["client-index"]),
        base=base,
    )
    if given is not None:
        splits |= open_feature_splits(
            config.replace(augmented_views=0),  # of which no reference image has any
            reference,
            fingerprint=given.fingerprint,
            client_index=0,
            base=base,
        )
    return LocalModel(client, settings, task, task.restore_over_features(received), splits)


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
