"""Shared by the tests of several packages: small configs, images, clients, and Flower in memory."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray
from torch import nn

from fl_client.client import Client
from models.backbones import build_backbone
from operation.files import write_text
from strategies.arrays import to_record, views
from strategies.layout import LAYOUT, Layout
from training.clip_text import ClipText
from training.config import ExperimentConfig, parse
from training.inference import Preprocessing
from training.run_folder import RunFolder
from training.split import Split
from training.study import resolve

# Pixel v becomes v / 255: what a network sees can be read back.
UNCHANGED = Preprocessing(image_size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

# Side at which the store keeps images for a network input of 32 pixels.
STORED_SIDE = 37


# The smallest network with BatchNorm, whose integer counters are the hardest part of a state: 0.1
# million weights, of which a step takes a twentieth of resnet18's time.
BACKBONE = "timm:test_efficientnet"

# Of networks whose smallest size is tested: they have more of the same layers.
LARGER_SIZES = {
    *("convnext_s", "convnext_b", "convnext_l", "swin_s", "swin_b", "swin_v2_s", "swin_v2_b"),
}


def make_config(**changes: Any) -> ExperimentConfig:
    """A resolved config of a small experiment on the CPU."""
    small = {
        "backbone": BACKBONE,
        "pretrained": False,
        "image_size": 32,
        "batch_size": 8,
        **changes,
    }
    config = parse({key.replace("_", "-"): value for key, value in small.items()})
    return resolve(config, dataset="ham10000", device="cpu", threads_per_client=1)


def make_text(classes: int = 3, width: int = 16, seed: int = 0) -> ClipText:
    """Text features of no text: random directions."""
    rows = np.random.default_rng(seed).normal(size=(classes, width))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return ClipText(rows.astype(np.float32), 100.0)


def random_split(
    num_images: int, *, side: int = STORED_SIDE, classes: int = 3, seed: int = 0
) -> Split:
    """Random images; which image is of which class means nothing."""
    rng = np.random.default_rng([num_images, seed])
    images = rng.integers(0, 256, (num_images, side, side, 3), dtype=np.uint8)
    return Split(images, rng.integers(0, classes, num_images), np.arange(num_images))


def plain_split(values: Iterable[int], labels: Iterable[int], side: int = 8) -> Split:
    """Images of one grey value each, which no crop and no flip changes."""
    greys = np.array(list(values), dtype=np.uint8)
    images = np.broadcast_to(greys[:, None, None, None], (len(greys), side, side, 3)).copy()
    return Split(images, np.array(list(labels), dtype=np.int64), np.arange(len(greys)))


def rows_of(number: int) -> pd.DataFrame:
    """The table of that many images, two of each lesion."""
    names = [str(index) for index in range(number)]
    lesions = [f"lesion-{index // 2}" for index in range(number)]
    return pd.DataFrame({"image_id": names, "label": "a", "lesion_id": lesions})


def make_client(
    folder: Path,
    config: ExperimentConfig | None = None,
    *,
    num_train: int = 12,
    index: int = 0,
    is_site: bool = False,
) -> Client:
    """A client of three classes with a few random images, other ones for every index."""
    sizes = {"train": num_train, "validation": 5, "test": 6}
    return Client(
        name=f"client-{index}",
        config=config or make_config(),
        splits={name: random_split(size, seed=index) for name, size in sizes.items()},
        classes=("a", "b", "c"),
        folder=folder / f"client-{index}",
        rows=rows_of(max(sizes.values())),
        is_site=is_site,
    )


def first_weights(seed: int = 0) -> dict[str, NDArray]:
    """Random weights of `BACKBONE` for three classes, as a client receives them: read only."""
    model = build_backbone(BACKBONE, 3, pretrained=False, image_size=32, seed=seed)
    return views(to_record(state_of(model)))


def write_rounds(folder: RunFolder, records: Iterable[Mapping[str, Any]]) -> None:
    """Put these rounds in place of those in a run folder's ``rounds.jsonl``."""
    write_text(folder.path / "rounds.jsonl", "".join(json.dumps(one) + "\n" for one in records))


def state_of(model: nn.Module) -> dict[str, NDArray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def assert_same_bits(ours: Mapping[str, NDArray], theirs: Mapping[str, NDArray]) -> None:
    """Names, dtypes, shapes and every bit are equal, so that -0.0 is not 0.0."""
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape), name
        assert array.tobytes() == theirs[name].tobytes(), name


def same_bits(ours: Mapping[str, NDArray], theirs: Mapping[str, NDArray]) -> bool:
    return all(array.tobytes() == theirs[name].tobytes() for name, array in ours.items())


class Recorder(nn.Module):
    """A linear classifier of flattened images that remembers what it was shown."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.batches: list[torch.Tensor] = []
        self.modes: list[tuple[bool, bool]] = []  # (training, gradients enabled)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(images.detach().clone())
        self.modes.append((self.training, torch.is_grad_enabled()))
        logits: torch.Tensor = self.linear(images.flatten(1))
        return logits


def deliver(messages: Iterable[Message]) -> list[Message]:
    """Number messages, as Flower's grid does when it sends them."""
    sent = list(messages)
    for message in sent:
        message.metadata.__dict__["_message_id"] = f"message to {message.metadata.dst_node_id}"
    return sent


def answer(
    message: Message, arrays: Mapping[str, NDArray] | None = None, **metrics: Any
) -> Message:
    """A client's reply; metric ``num_examples`` stands for key ``num-examples``."""
    content = RecordDict(
        {"metrics": MetricRecord({k.replace("_", "-"): v for k, v in metrics.items()})}
    )
    if arrays is not None:
        content["arrays"] = to_record(arrays)
    return Message(content, reply_to=message)


def received_by(message: Message) -> ArrayRecord:
    record = message.content["arrays"]
    assert isinstance(record, ArrayRecord)
    return record


def end_to_end(weights: Mapping[str, NDArray]) -> dict[str, ArrayRecord | ConfigRecord]:
    """Weights and their layout, as they travel."""
    layout = Layout.of(weights)
    return {"arrays": layout.flatten(weights), LAYOUT: layout.record()}


def settings_of(message: Message) -> ConfigRecord:
    record = message.content["config"]
    assert isinstance(record, ConfigRecord)
    return record


class MemoryGrid(Grid):
    """A grid whose nodes are functions: node id → answer to a message, or None for no answer."""

    def __init__(self, nodes: Mapping[int, Callable[[Message], Message | None]]) -> None:
        self.nodes = nodes
        self.sent: list[Message] = []

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        sent = deliver(messages)
        self.sent += sent
        replies = [self.nodes[message.metadata.dst_node_id](message) for message in sent]
        return [reply for reply in reversed(replies) if reply is not None]

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError
