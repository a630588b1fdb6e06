"""The table of the backbones' providers, and what is known of a backbone by its name.

It does not import torch, so that checking a config is fast. The facts about the named backbones
stand in the providers; those about ``timm:`` and ``open_clip:`` models are asked of the library,
which imports torch.
"""

from collections.abc import Mapping
from types import MappingProxyType

from models import open_clip_provider, timm_provider, torchvision_provider
from models.errors import BackboneError
from models.provider import BackboneSpec, Provider
from operation.names import known_names

SMALLEST_IMAGE = 32
"""Pixels: nearly every trunk reduces the side by 32; a smaller image has no last feature map."""

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "torchvision": torchvision_provider,
        "open_clip": open_clip_provider,
        "timm": timm_provider,
    }
)

BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType(
    {name: spec for provider in PROVIDERS.values() for name, spec in provider.NAMED.items()}
)
"""By name: the twelve of docs/study.md, resnet18 for demos and tests, two image towers of CLIP."""


def known(name: str) -> BackboneSpec | None:
    """Return the facts about a backbone as far as they are known without its library.

    Returns:
        None if only the library knows: `find_backbone` asks it.

    Raises:
        BackboneError: no backbone can be called so; the message suggests a name, or lists all.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    prefix, colon, model = name.partition(":")
    if not colon or prefix not in PROVIDERS:
        open_names = [f"{key}:…" for key, provider in PROVIDERS.items() if provider.USAGE]
        raise BackboneError(
            f"no backbone is called {name!r}; {known_names(name, [*BACKBONES, *open_names])}"
        )
    PROVIDERS[prefix].check_model(model)
    return None


def find_backbone(name: str) -> BackboneSpec:
    """Return the facts about a backbone. For ``timm:`` and ``open_clip:`` models it imports torch.

    Raises:
        BackboneError: there is none of that name, or it cannot be a backbone.
    """
    spec = known(name)
    if spec is None:
        prefix, _, model = name.partition(":")
        spec = PROVIDERS[prefix].find(model)
    return spec


def check_image_size(name: str, image_size: int) -> None:
    """Check that a backbone takes images of a size, in pixels, as far as its facts say.

    Raises:
        BackboneError: the name is unknown, or the backbone cannot take that size; the message
            says which sizes it takes.
    """
    _check_size(name, find_backbone(name).fixed_image_size, image_size)


def check_without_library(name: str, image_size: int) -> None:
    """Like `check_image_size`, but a size that only a library can judge passes; without torch."""
    spec = known(name)
    _check_size(name, None if spec is None else spec.fixed_image_size, image_size)


def file_name(name: str) -> str:
    """Return a backbone's name as part of a file name, without the colon."""
    return name.replace(":", "-")


def _check_size(name: str, fixed: int | None, image_size: int) -> None:
    if fixed is not None and image_size != fixed:
        raise BackboneError(f"{name} takes images of {fixed} pixels only, not {image_size}")
    if image_size < SMALLEST_IMAGE:
        raise BackboneError(
            f"{name} takes images of {SMALLEST_IMAGE} pixels or more, not {image_size}"
        )
