"""A client's work, the same in every framework; imports torch, torchvision and numpy only.

The folder that ``PEERS_JOB`` names holds ``job.json``, the initial weights, and for each client the
batches of every round as fedskin draws them: in order, cropped, flipped and normalised.
"""

import json
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import convnext_tiny

FOLDER = Path(os.environ["PEERS_JOB"])
JOB: dict[str, Any] = json.loads((FOLDER / "job.json").read_text(encoding="utf-8"))


class Network(nn.Module):
    """The network without weights: a ``load_state_dict`` must follow, if not ``initial``."""

    def __init__(self, initial: bool = False) -> None:
        super().__init__()
        with torch.device("meta"):  # drawing weights that are then replaced takes a second
            self.network = convnext_tiny(num_classes=JOB["classes"])
        self.network.to_empty(device="cpu")
        if initial:
            self.network.load_state_dict(_read("weights"))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) → logits (B, classes)."""
        logits: Tensor = self.network(images)
        return logits


def training_data(client: int, round_number: int) -> tuple[Tensor, Tensor]:
    """Return the images (n, 3, S, S) and labels (n,) of a round, in the order of its batches.

    Args:
        client: from 0.
        round_number: from 1.
    """
    data = _read(f"client-{client}")
    return data[f"images-{round_number}"], data[f"labels-{round_number}"]


def validation_data(client: int) -> tuple[Tensor, Tensor]:
    """Return a client's validation images (m, 3, S, S) and labels (m,)."""
    data = _read(f"client-{client}")
    return data["validation-images"], data["validation-labels"]


def optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """Return a new optimizer."""
    return torch.optim.SGD(network.parameters(), **JOB["sgd"])


def train(network: nn.Module, client: int, round_number: int) -> None:
    """Train an epoch with a new optimizer."""
    record = Record(client, round_number)
    network.train()
    steps = optimizer(network)
    for images, labels in _batches(*training_data(client, round_number)):
        steps.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        steps.step()
        record.add(loss.item())


@torch.no_grad()
def evaluate(network: nn.Module, client: int) -> float:
    """Return the accuracy on a client's validation images."""
    network.eval()
    images, labels = validation_data(client)
    correct = [
        int((network(part).argmax(1) == truth).sum()) for part, truth in _batches(images, labels)
    ]
    return sum(correct) / len(labels)


class Record:
    """A client's round, for the measurement: made just before its first step.

    It seeds the layers that drop blocks at random. All batches have the same size.
    """

    def __init__(self, client: int, round_number: int) -> None:
        torch.manual_seed(JOB["layer_seeds"][client][round_number - 1])
        self._line = {"client": client, "round": round_number, "started": time.time()}
        self._losses: list[float] = []

    def add(self, loss: float) -> None:
        """Add a batch's mean loss; the last batch ends the round."""
        self._losses.append(loss)
        if len(self._losses) == JOB["batches"]:
            line = {**self._line, "ended": time.time(), "loss": float(np.mean(self._losses))}
            with (FOLDER / "rounds.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = JOB["batch_size"]
    return zip(images.split(size), labels.split(size), strict=True)


@cache
def _read(name: str) -> dict[str, Tensor]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(array) for key, array in arrays.items()}
