"""The network of an experiment: where it is, its weights, its base, its input.

The weights of a network are its sent part (`models.backbones.Backbone`), which is in messages and
checkpoints. Its base, if it has one, is built from the config and identified by a sha256. In all
functions ``config`` is resolved.
"""

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbones import Backbone
from models.registry import find_backbone
from training.config import ExperimentConfig
from training.device import use_exact_kernels
from training.errors import TrainingError
from training.inference import Inputs, Preprocessing, extract_features
from training.split import Split
from training.weights import Weights, weights_sha256


class FeatureViews(Inputs):
    """Inputs from stored features (B, V, width): the centre view first, then the augmented ones."""

    def for_training(self, stored: Tensor, generator: torch.Generator) -> Tensor:
        """Take one view of each image at random, (B, width); with one view nothing is drawn."""
        num_images, num_views, _ = stored.shape
        if num_views == 1:
            return stored[:, 0]
        chosen = torch.randint(num_views, (num_images,), generator=generator)
        return stored[torch.arange(num_images), chosen]

    def for_evaluation(self, stored: Tensor) -> Tensor:
        """Take the centre view of each image, (B, width)."""
        return stored[:, 0]


def move_to_device(network: Backbone, config: ExperimentConfig) -> Backbone:
    """Return the network on the config's device, in the memory format that is fastest there.

    On CUDA, this process then computes with `training.device.use_exact_kernels`.
    """
    if config.device == "cuda":
        use_exact_kernels()
        network = network.to(memory_format=torch.channels_last)
    return network.to(config.device)


def sent_part(network: Backbone) -> Weights:
    """Return the weights that training changes, as views of the network's memory on the CPU."""
    return _as_arrays(network.sent_part())


def base_sha256(network: Backbone) -> str:
    """Return the sha256 of a network's base, see `training.weights.weights_sha256`."""
    return weights_sha256(_as_arrays(network.base()))


def as_tensors(weights: Mapping[str, NDArray]) -> dict[str, Tensor]:
    """Return arrays as tensors, without a copy."""
    with warnings.catch_warnings():
        # They may be views of a message's bytes, which are never written to.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return {name: torch.from_numpy(array) for name, array in weights.items()}


def preprocessing(config: ExperimentConfig, split: Split | None = None) -> Inputs:
    """Return the preprocessing of images, or of features instead of images."""
    if split is not None and split.holds_features:
        return FeatureViews()
    spec = find_backbone(config.backbone)
    return Preprocessing(
        config.image_size,
        spec.mean,
        spec.std,
        cropped=config.keeps_aspect,
        augmentation=config.augmentation,
    )


def features_of(
    network: Backbone, split: Split, config: ExperimentConfig, inputs: Inputs | None = None
) -> NDArray[np.float32]:
    """Return the features (n, width) of a split's n images, in its order.

    Args:
        split: n images, or their features.
        inputs: another preprocessing.

    Raises:
        TrainingError: a feature is NaN or infinite.
    """
    return extract_features(
        network,
        split.images,
        split.indices,
        width=find_backbone(config.backbone).width,
        batch_size=config.batch_size,
        preprocessing=preprocessing(config, split) if inputs is None else inputs,
        precision=config.precision,
    )


def of_base(name: str) -> bool:
    """Return whether a state dict's array belongs to the base."""
    return name.startswith("trunk.") and ".lora_" not in name


def load(network: Backbone, tensors: Mapping[str, Tensor], config: ExperimentConfig) -> None:
    """Load weights into a network.

    Raises:
        TrainingError: they are of another network.
    """
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        part = "" if config.trainable == "all" else f" with trainable = {config.trainable}"
        raise TrainingError(
            f"the weights are not those of {config.backbone}{part}: {cause}"
        ) from None


def check_base(network: Backbone, config: ExperimentConfig, sha256: str | None) -> None:
    """Compare the network's base with the run's, unless that is None.

    Raises:
        TrainingError: it is another one.
    """
    if sha256 is not None and base_sha256(network) != sha256:
        library = find_backbone(config.backbone).provider
        raise TrainingError(
            f"the base of {config.backbone} on this machine is not the run's: use the same "
            f"pretrained weights, and the same versions of torch and {library}"
        )


def _as_arrays(tensors: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
