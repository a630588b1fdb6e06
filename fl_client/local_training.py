"""What a client computes: one round's training, and the judging of a model."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl_client.client import Client
from training import optimizers
from training.epoch import train_epoch
from training.judging import judge
from training.network import (
    as_tensors,
    loss_function,
    preprocessing,
    restore_network,
)
from training.optimizer_state import OptimizerStates
from training.proximal import add_proximal_gradient
from training.randomness import derive_seed, layer_randomness
from training.text import Text

Metrics = dict[str, int | float | list[int] | list[float]]


def train_locally(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: Text | None = None,
) -> tuple[dict[str, NDArray], Metrics]:
    """Validate the received global model, then train it on the client's images.

    Holds the model, its gradients and the optimizer's state, and under FedProx the received
    weights.

    Args:
        client: who trains.
        received: the global weights, read only; they also anchor FedProx's proximal term.
        settings: ``round``, ``client-index``, and ``proximal-mu`` under FedProx.
        text: what objective ``clip`` compares images with.

    Returns:
        The trained weights, which share the model's memory, and the metrics: ``num-examples``,
        ``train-loss``, seconds by phase, and those of `evaluate_locally` for the validation split.

    Raises:
        TrainingError: the received weights do not fit, or the loss became NaN or infinite.
    """
    config = client.config
    round_number, index = int(settings["round"]), int(settings["client-index"])
    model = restore_network(config, client.num_classes, received, text)
    metrics: Metrics = {}
    if round_number > 1:  # the weights that round one starts from are nobody's model yet
        metrics |= _judge(client, model, "validation")

    started = time.perf_counter()
    optimizer = optimizers.build(config, model.parameters())
    states = OptimizerStates(client.folder / "optimizer", keep=config.client_optimizer)
    metrics["optimizer-round"] = states.load(model, optimizer, before=round_number)
    mu = float(settings.get("proximal-mu", 0.0))
    local = list(model.parameters())
    anchor = []
    if mu > 0:
        tensors = as_tensors(received)
        anchor = [tensors[name].to(client.device) for name, _ in model.named_parameters()]
    del received  # where nobody else holds the message's bytes, they are free now

    def seed(purpose: str) -> int:
        return derive_seed(
            config.seed, round_number=round_number, client_index=index, purpose=purpose
        )

    generator = torch.Generator().manual_seed(seed("batches"))
    losses = []
    with layer_randomness(seed("layers"), client.device):
        for _ in range(config.local_epochs):
            losses.append(
                train_epoch(
                    model,
                    client.splits["train"],
                    optimizer,
                    batch_size=config.batch_size,
                    preprocessing=preprocessing(config),
                    generator=generator,
                    precision=config.precision,
                    loss_function=loss_function(config),
                    before_step=(lambda: add_proximal_gradient(local, anchor, mu)) if mu else None,
                )
            )
    states.save(model, optimizer, round_number)
    metrics["num-examples"] = len(client.splits["train"])
    metrics["train-loss"] = float(np.mean(losses))
    metrics["seconds-training"] = time.perf_counter() - started
    return {name: t.detach().cpu().numpy() for name, t in model.state_dict().items()}, metrics


def evaluate_locally(
    client: Client,
    received: Mapping[str, NDArray],
    settings: Mapping[str, Any],
    text: Text | None = None,
) -> Metrics:
    """Judge a received model on the splits named, comma-separated, in ``splits``.

    Returns:
        For each split ``<split>-loss``, ``<split>-confusion`` (K² counts, row by row), the same by
        patient as ``<split>-patient-confusion`` where patients are known, and
        ``<split>-examples``; and ``num-examples``, the images judged altogether.
    """
    model = restore_network(client.config, client.num_classes, received, text)
    metrics: Metrics = {}
    num_examples = 0
    for split in str(settings["splits"]).split(","):
        metrics |= _judge(client, model, split)
        num_examples += len(client.splits[split])
    return {**metrics, "num-examples": num_examples}


def _judge(client: Client, model: nn.Module, split: str) -> Metrics:
    started = time.perf_counter()
    result = judge(client.config, model, client.splits[split], client.num_classes)
    metrics: Metrics = {
        f"{split}-loss": result.loss,
        f"{split}-confusion": [int(count) for count in result.confusion.flat],
        f"{split}-examples": len(client.splits[split]),
        f"seconds-{split}": time.perf_counter() - started,
    }
    if result.patient_confusion is not None:
        metrics[f"{split}-patient-confusion"] = [int(n) for n in result.patient_confusion.flat]
    return metrics
