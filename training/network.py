"""The network of an experiment, built from its config or around weights.

The weights of a network are its sent part (`models.backbones.Backbone`), which is in messages and
checkpoints. Its base, if it has one, is built from the config and identified by a sha256.

In all functions ``config`` is resolved, ``num_classes`` is K, and ``text`` is the text features of
objective ``clip``, otherwise None.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbones import Backbone, build_backbone, build_empty, over_features
from models.clip import ImageTextClassifier
from models.registry import find_backbone
from models.text_encoders import find_text_encoder
from training.clip_text import ClipText
from training.config import ExperimentConfig
from training.device import use_exact_kernels
from training.errors import TrainingError
from training.feature_views import FeatureViews
from training.inference import Inputs, Preprocessing
from training.split import Split
from training.weights import Weights, weights_sha256


def build_network(config: ExperimentConfig, num_classes: int, text: ClipText | None) -> Backbone:
    """Return the network that a run starts from, on the CPU.

    Raises:
        WeightsError: the pretrained weights are missing or unusable.
    """
    encoder = find_text_encoder(config.text_encoder)
    network = build_backbone(
        config.backbone,
        _num_outputs(num_classes, text),
        pretrained=config.pretrained,
        weights_dir=Path(config.weights_dir) if config.weights_dir else None,
        image_size=config.image_size,
        seed=config.seed,
        # A CLIP image tower with its own text tower starts from CLIP's alignment of the two.
        identity_head=text is not None and encoder.image_tower == config.backbone,
        trainable=config.trainable,
    )
    return _with_text(network, text)


def build_base(config: ExperimentConfig, sha256: str | None = None) -> Backbone:
    """Return a network of which only the base is used, on the CPU; its head has no meaning.

    With ``trainable`` ``head`` and ``adapter``, the base is the whole trunk.

    Args:
        sha256: of the base; None: not checked.

    Raises:
        TrainingError: the base has another sha256.
        WeightsError: the pretrained weights are missing or unusable.
    """
    trainable = "head" if config.trainable == "adapter" else config.trainable
    network = build_network(config.replace(trainable=trainable), 1, None)
    _check_base(network, config, sha256)
    return network


def move_to_device(network: Backbone, config: ExperimentConfig) -> Backbone:
    """Return the network on the config's device, in the memory format that is fastest there.

    On CUDA, this process then computes with `training.device.use_exact_kernels`.
    """
    if config.device == "cuda":
        use_exact_kernels()
        network = network.to(memory_format=torch.channels_last)
    return network.to(config.device)


def restore_network(
    config: ExperimentConfig,
    num_classes: int,
    weights: Mapping[str, NDArray],
    text: ClipText | None,
    *,
    base: str | None = None,
) -> Backbone:
    """Return the network with a copy of some weights, on the device; only one copy is made.

    Args:
        weights: the sent part, for which the base is built, or the whole state dict. They are not
            changed, so they may be views of a message's bytes.
        base: the sha256 of the base; None: not checked.

    Raises:
        TrainingError: the weights are of another network, or the base has another sha256.
        WeightsError: the pretrained weights of the base are missing or unusable.
    """
    tensors = as_tensors(weights)
    if config.trainable == "all" or any(_of_base(name) for name in weights):
        outputs = _num_outputs(num_classes, text)
        network = build_empty(
            config.backbone, outputs, image_size=config.image_size, trainable=config.trainable
        )
        _load(network, tensors, config)
        return move_to_device(_with_text(network, text), config)
    network = build_network(config, num_classes, text)
    _check_base(network, config, base)
    _load(network, {**network.base(), **tensors}, config)
    return move_to_device(network, config)


def restore_over_features(
    config: ExperimentConfig,
    num_classes: int,
    weights: Mapping[str, NDArray],
    text: ClipText | None,
) -> Backbone:
    """Return the network without its trunk, for features instead of images.

    Args:
        config: ``trainable`` is ``head`` or ``adapter``.
        weights: the sent part.

    Raises:
        TrainingError: the weights are of another network.
    """
    outputs = _num_outputs(num_classes, text)
    network = over_features(config.backbone, outputs, trainable=config.trainable)
    _load(network, as_tensors(weights), config)
    return move_to_device(_with_text(network, text), config)


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
    return Preprocessing(config.image_size, spec.mean, spec.std)


def _of_base(name: str) -> bool:
    return name.startswith("trunk.") and ".lora_" not in name


def _load(network: Backbone, tensors: Mapping[str, Tensor], config: ExperimentConfig) -> None:
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        part = "" if config.trainable == "all" else f" with trainable = {config.trainable}"
        raise TrainingError(
            f"the weights are not those of {config.backbone}{part}: {cause}"
        ) from None


def _check_base(network: Backbone, config: ExperimentConfig, sha256: str | None) -> None:
    if sha256 is not None and base_sha256(network) != sha256:
        library = find_backbone(config.backbone).provider
        raise TrainingError(
            f"the base of {config.backbone} on this machine is not the run's: use the same "
            f"pretrained weights, and the same versions of torch and {library}"
        )


def _as_arrays(tensors: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _num_outputs(num_classes: int, text: ClipText | None) -> int:
    return num_classes if text is None else text.features.shape[1]


def _with_text(network: Backbone, text: ClipText | None) -> Backbone:
    if text is None:
        return network
    # A copy, so that the network does not keep a message's bytes in memory.
    return ImageTextClassifier(network, torch.tensor(text.features), text.logit_scale)
