"""What a library of networks offers as backbones: the facts about each, and how it is built.

It does not import torch, so that checking a config is fast.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from models.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneSpec:
    """The facts about one backbone."""

    name: str  # as in a config: a name of the project, or ``provider:model``
    provider: str  # key in ``models.registry.PROVIDERS``
    builder: str  # its library's name for it
    width: int  # number of features that enter the classifier
    megabytes: int  # size of its weights as float32, in 10^6 bytes, with a small classifier
    licence: str  # source and terms of the weights
    # What the provider finds the pretrained weights by: member of torchvision's weights enum, or
    # repository on the Hugging Face hub; empty if none is published there.
    weights: str
    # The only image size it takes, in pixels; None: any from ``SMALLEST_IMAGE`` up, multiple of 32
    # or not.
    fixed_image_size: int | None = None
    # Whether its trunk has attention or linear layers, which LoRA updates.
    has_linear_layers: bool = True
    # mean, std: normalisation of the channels R, G, B of an image with values in [0, 1].
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    # Name, inside torchvision's module, of the Linear layer that our head replaces.
    classifier: str = ""


class Provider(Protocol):
    """A library's module, or an object. Importing it must import neither torch nor the library."""

    # Backbones with a name of the project, whose facts are known without the library. A package has
    # none: its backbones are called ``provider:model``.
    NAMED: Mapping[str, BackboneSpec]
    USAGE: str  # how its other models are named in a config, with an example; empty if it has none

    def check_model(self, model: str) -> None:
        """Check the part after ``provider:`` as far as possible without importing torch.

        Raises:
            BackboneError: no model is called so.
        """

    def find(self, model: str) -> BackboneSpec:
        """Return the facts about ``provider:model``, asking the library.

        Raises:
            BackboneError: there is no such model, or it cannot be a backbone.
        """

    def build_trunk(self, spec: BackboneSpec, device: str) -> nn.Module:
        """Build the network that ends in pooled features, randomly initialised.

        Args:
            device: ``cpu`` or ``meta``.
        """

    def find_weights(self, spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
        """Return the file that ``pretrained`` would use, without torch or a network.

        Only the file's name is checked, `locate_weights` checks the content.

        Args:
            weights_dir: as in a config; None for the library's own cache.

        Returns:
            None if it is not on this machine.
        """

    def locate_weights(self, spec: BackboneSpec, weights_dir: Path | None) -> Path:
        """Return the file of the trunk's pretrained weights, downloaded if necessary.

        Raises:
            WeightsError: it is missing, cannot be downloaded, or is damaged.
        """

    def load_weights(self, trunk: nn.Module, spec: BackboneSpec, path: Path) -> None:
        """Fill a trunk, on the meta device or not, with the weights in a file, strictly.

        Raises:
            WeightsError: the file is damaged or holds something other than this network's weights.
        """


class WithoutWeights:
    """A base class for a provider whose networks have no pretrained weights."""

    NAMED: Mapping[str, BackboneSpec] = {}

    def find_weights(self, _spec: BackboneSpec, _weights_dir: Path | None) -> Path | None:
        """Return None."""
        return None

    def locate_weights(self, spec: BackboneSpec, _weights_dir: Path | None) -> Path:
        """Raise WeightsError."""
        raise WeightsError(f"{spec.name} has no pretrained weights; set pretrained = false")

    def load_weights(self, _trunk: nn.Module, spec: BackboneSpec, path: Path) -> None:
        """Raise WeightsError."""
        raise WeightsError(f"{path}: {spec.name} has no pretrained weights")


def fault(_: str, found: object) -> str:
    """Return which member a package's provider lacks, as the end of a sentence; or nothing."""
    functions = [
        name
        for name, member in vars(Provider).items()
        if name[0] != "_" and inspect.isfunction(member)
    ]
    lacking = [name for name in functions if not callable(getattr(found, name, None))]
    if not isinstance(getattr(found, "USAGE", None), str):
        lacking.append("USAGE")
    return f"lacks {', '.join(lacking)}" if lacking else ""
