"""What a client computes: one round's training, and the judging of a model."""

import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl_client.client import Client
from fl_client.optimizer_state import OptimizerStates
from models.backbones import build_empty
from models.registry import find
from training import optimizers
from training.epoch import Preprocessing, TrainingError, evaluate, train_epoch
from training.proximal import add_proximal_gradient
from training.randomness import derive_seed, layer_randomness

Metrics = dict[str, int | float | list[int] | list[float]]


def train_locally(
    client: Client, received: Mapping[str, NDArray], settings: Mapping[str, Any]
) -> tuple[dict[str, NDArray], Metrics]:
    """Validate the received global model, then train it on the client's images.

    Holds, besides the received weights: the model, its gradients and the optimizer's state.

    Args:
        client: who trains.
        received: the global weights, read only; they also anchor FedProx's proximal term.
        settings: ``round``, ``client-index``, and ``proximal-mu`` under FedProx.

    Returns:
        The trained weights, which share the model's memory, and the metrics: ``num-examples``,
        ``train-loss``, seconds by phase, and those of `evaluate_locally` for the validation split.

    Raises:
        TrainingError: the received weights do not fit, or the loss became NaN or infinite.
    """
    config = client.config
    round_number, index = int(settings["round"]), int(settings["client-index"])
    model = _load(client, received)
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
        tensors = _tensors(received)
        anchor = [tensors[name].to(client.device) for name, _ in model.named_parameters()]

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
                    preprocessing=_preprocessing(client),
                    generator=generator,
                    precision=config.precision,
                    before_step=(lambda: add_proximal_gradient(local, anchor, mu)) if mu else None,
                )
            )
    states.save(model, optimizer, round_number)
    metrics["num-examples"] = len(client.splits["train"])
    metrics["train-loss"] = float(np.mean(losses))
    metrics["seconds-training"] = time.perf_counter() - started
    return {name: t.detach().cpu().numpy() for name, t in model.state_dict().items()}, metrics


def evaluate_locally(
    client: Client, received: Mapping[str, NDArray], settings: Mapping[str, Any]
) -> Metrics:
    """Judge a received model on the splits named, comma-separated, in ``splits``.

    Returns:
        For each split ``<split>-loss``, ``<split>-confusion`` (K² counts, row by row) and
        ``<split>-examples``; and ``num-examples``, the images judged altogether.
    """
    model = _load(client, received)
    metrics: Metrics = {}
    num_examples = 0
    for split in str(settings["splits"]).split(","):
        metrics |= _judge(client, model, split)
        num_examples += len(client.splits[split])
    return {**metrics, "num-examples": num_examples}


def _judge(client: Client, model: nn.Module, split: str) -> Metrics:
    started = time.perf_counter()
    result = evaluate(
        model,
        client.splits[split],
        num_classes=client.num_classes,
        batch_size=client.config.batch_size,
        preprocessing=_preprocessing(client),
        precision=client.config.precision,
    )
    return {
        f"{split}-loss": result.loss,
        f"{split}-confusion": [int(count) for count in result.confusion.flat],
        f"{split}-examples": len(client.splits[split]),
        f"seconds-{split}": time.perf_counter() - started,
    }


def _load(client: Client, received: Mapping[str, NDArray]) -> nn.Module:
    """Build the model around its own copy, the only one, of the received weights."""
    config = client.config
    model = build_empty(config.backbone, client.num_classes, image_size=config.image_size)
    try:
        model.load_state_dict(_tensors(received), strict=True)
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise TrainingError(
            f"the received weights are not those of {config.backbone}: {cause}"
        ) from None
    if client.device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    return model.to(client.device)


def _tensors(received: Mapping[str, NDArray]) -> dict[str, torch.Tensor]:
    """See the received arrays as tensors, without a copy."""
    with warnings.catch_warnings():
        # They are views of the message's bytes, which nobody writes to.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return {name: torch.from_numpy(array) for name, array in received.items()}


def _preprocessing(client: Client) -> Preprocessing:
    spec = find(client.config.backbone)
    return Preprocessing(client.config.image_size, spec.mean, spec.std)
