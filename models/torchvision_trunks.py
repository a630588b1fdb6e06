"""torchvision's networks as trunks: without the last Linear layer, with ImageNet weights."""

from pathlib import Path

import torch
from torch import nn

from models.registry import BackboneSpec
from models.weights import load_pretrained, locate


def build_trunk(spec: BackboneSpec, device: str) -> nn.Module:
    """Build torchvision's network without its last Linear layer, randomly initialised.

    Args:
        spec: the backbone.
        device: ``cpu`` or ``meta``.
    """
    # Imported here: it takes as long as torch itself, and the table alone does not need it. Never
    # import it under torch.device("meta"): the library's own tensors would stay empty.
    from torchvision.models import get_model

    with torch.device(device):
        trunk: nn.Module = get_model(spec.builder, weights=None, num_classes=1)
    trunk.set_submodule(spec.classifier, nn.Identity(), strict=True)
    return trunk


def locate_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path:
    """Return the file of the trunk's ImageNet weights, downloaded if necessary.

    Raises:
        WeightsError: it is missing, cannot be downloaded, or is damaged.
    """
    return locate(_weights_url(spec), weights_dir)


def load_weights(trunk: nn.Module, spec: BackboneSpec, path: Path) -> None:
    """Fill a trunk, on the meta device or not, with the weights in a file, strictly.

    Raises:
        WeightsError: the file holds something other than this network's weights.
    """
    load_pretrained(trunk, path, head=spec.classifier)


def _weights_url(spec: BackboneSpec) -> str:
    from torchvision.models import get_model_weights

    url: str = get_model_weights(spec.builder)[spec.weights].url
    return url
