"""The backbones: the builders that read the table in ``models/registry.py``.

The architectures are torchvision's. Each becomes a ``Backbone``: a trunk, which ends in one
feature vector an image, and one linear head. In a state dict the trunk's names are torchvision's
behind ``trunk.``; the head's are ``head.weight`` and ``head.bias``, whatever the architecture.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from models.registry import BackboneSpec, check_image_size, find
from models.weights import load_pretrained, locate


class Backbone(nn.Module):
    """An image classifier: trunk, one feature vector an image, linear head.

    Attributes:
        trunk: (B, 3, S, S) float32 images → (B, width) features: what torchvision's network
            feeds its own last Linear layer.
        head: (B, width) features → (B, num_classes) logits.
    """

    def __init__(self, trunk: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → features (B, width)."""
        features: Tensor = self.trunk(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → logits (B, num_classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build(
    name: str,
    num_classes: int,
    *,
    pretrained: bool,
    image_size: int,
    seed: int,
    weights_dir: Path | None = None,
) -> Backbone:
    """A backbone on the CPU, in training mode; equal arguments give equal weights.

    The trunk starts from torchvision's ImageNet weights or, drawn from ``seed``, from its random
    ones (then it depends neither on ``num_classes`` nor on ``image_size``). The head is new in
    either case: uniform in ±1/√width, bias included, also where torchvision has none (maxvit_t)
    or starts at zero (vit_l_16).

    Args:
        name: a name in ``BACKBONES``.
        num_classes: number of outputs, at least 1.
        pretrained: whether the trunk starts from ImageNet weights.
        image_size: the pixels its images will have; only checked.
        seed: of all that is random here.
        weights_dir: folder of weight files; None: torch.hub's, or the network.

    Raises:
        BackboneError: unknown name or impossible image size.
        WeightsError: the pretrained weights are missing or unusable.
    """
    check_image_size(name, image_size)
    spec = find(name)
    # torchvision draws from the global generator and takes no other, so that one is seeded here
    # and given back as it was. Not torch.manual_seed: it would also seed every GPU's generator.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if pretrained:
            with torch.device("meta"):  # no time spent on weights about to be replaced
                trunk = _trunk(spec)
            load_pretrained(trunk, locate_pretrained(name, weights_dir), head=spec.classifier)
        else:
            trunk = _trunk(spec)
        return Backbone(trunk, nn.Linear(spec.width, num_classes))


def build_empty(name: str, num_classes: int, *, image_size: int) -> Backbone:
    """A backbone on the CPU whose tensors, buffers too, hold whatever the memory held.

    For a receiver of weights: follow it at once by a strict ``load_state_dict`` of a whole state
    dict, which costs a copy, where drawing convnext_l's weights costs seconds. All buffers of
    these networks are in their state dicts, so nothing stays undefined.

    Raises:
        BackboneError: unknown name or impossible image size.
    """
    check_image_size(name, image_size)
    spec = find(name)
    with torch.device("meta"):
        model = Backbone(_trunk(spec), nn.Linear(spec.width, num_classes))
    # Not left on meta for an assigning load: the model would then share, and training would
    # overwrite, the received tensors, which FedProx still needs.
    return model.to_empty(device="cpu")


def locate_pretrained(name: str, weights_dir: Path | None) -> Path:
    """Return the file of a backbone's pretrained weights, downloaded if need be.

    Raises:
        BackboneError: unknown name.
        WeightsError: it is not in ``weights_dir``, or cannot be downloaded, or is damaged.
    """
    return locate(_weights_url(find(name)), weights_dir)


def _trunk(spec: BackboneSpec) -> nn.Module:
    """torchvision's network with its last Linear layer taken out."""
    # Imported here: it takes as long as torch itself, and readers of the table do not need it.
    from torchvision.models import get_model

    trunk: nn.Module = get_model(spec.builder, weights=None, num_classes=1)
    trunk.set_submodule(spec.classifier, nn.Identity(), strict=True)
    return trunk


def _weights_url(spec: BackboneSpec) -> str:
    from torchvision.models import get_model_weights

    url: str = get_model_weights(spec.builder)[spec.weights].url
    return url
