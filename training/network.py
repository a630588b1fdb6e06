"""The network of an experiment: built from its config, or around weights; and what it minimises."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.backbones import Backbone, build, build_empty
from models.clip import ImageTextClassifier, contrastive_loss
from models.registry import find
from models.text_encoders import TEXT_ENCODERS
from training.config import ExperimentConfig
from training.errors import TrainingError
from training.inference import Preprocessing
from training.text import Text


def build_network(config: ExperimentConfig, num_classes: int, text: Text | None) -> Backbone:
    """Return the network that a run starts from, on the CPU.

    Args:
        config: resolved.
        num_classes: K.
        text: for objective ``clip``, else None.

    Raises:
        WeightsError: the pretrained weights are missing or unusable.
    """
    encoder = TEXT_ENCODERS[config.text_encoder]
    network = build(
        config.backbone,
        _num_outputs(num_classes, text),
        pretrained=config.pretrained,
        weights_dir=Path(config.weights_dir) if config.weights_dir else None,
        image_size=config.image_size,
        seed=config.seed,
        # A CLIP image tower with its own text tower begins where OpenAI's training ended.
        identity_head=text is not None and encoder.image_tower == config.backbone,
    )
    return _with_text(network, text)


def place(network: Backbone, config: ExperimentConfig) -> Backbone:
    """Return the network on the device that the config names, laid out as is fastest there."""
    if config.device == "cuda":
        network = network.to(memory_format=torch.channels_last)
    return network.to(config.device)


def restore_network(
    config: ExperimentConfig,
    num_classes: int,
    weights: Mapping[str, NDArray],
    text: Text | None,
) -> Backbone:
    """Return the network around its own copy, the only one, of some weights, on the device.

    Args:
        config: resolved.
        num_classes: K.
        weights: read only, for instance views of a message's bytes.
        text: for objective ``clip``, else None.

    Raises:
        TrainingError: the weights are of another network.
    """
    outputs = _num_outputs(num_classes, text)
    network = build_empty(config.backbone, outputs, image_size=config.image_size)
    try:
        network.load_state_dict(as_tensors(weights), strict=True)
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise TrainingError(f"the weights are not those of {config.backbone}: {cause}") from None
    return place(_with_text(network, text), config)


def as_tensors(weights: Mapping[str, NDArray]) -> dict[str, Tensor]:
    """See arrays as tensors, without a copy."""
    with warnings.catch_warnings():
        # They may be views of a message's bytes, which nobody writes to.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return {name: torch.from_numpy(array) for name, array in weights.items()}


def loss_function(config: ExperimentConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what training minimises: of logits (B, K) and labels (B,), a mean over the batch."""
    if config.objective == "clip":
        return partial(contrastive_loss, targets=config.contrastive_targets)
    return functional.cross_entropy


def preprocessing(config: ExperimentConfig) -> Preprocessing:
    """Return how images become the network's input."""
    spec = find(config.backbone)
    return Preprocessing(config.image_size, spec.mean, spec.std)


def _num_outputs(num_classes: int, text: Text | None) -> int:
    return num_classes if text is None else text.features.shape[1]


def _with_text(network: Backbone, text: Text | None) -> Backbone:
    if text is None:
        return network
    # A copy: what is trained must not hold on to a message's bytes.
    return ImageTextClassifier(network, torch.tensor(text.features), text.logit_scale)
