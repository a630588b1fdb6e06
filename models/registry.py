"""The table of the backbones' providers, and what is known of a backbone by its name.

It does not import torch, so that checking a config is fast. The facts about the named backbones
stand in the project's own providers; those about ``timm:`` and ``open_clip:`` models are asked of
the library, which imports torch; those about a package's models are asked of the package.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from models import open_clip_provider, timm_provider, torchvision_provider
from models.errors import BackboneError
from models.provider import BackboneSpec, Provider, fault
from operation.extension_point import ExtensionPoint
from operation.plugins import PlugInError
from operation.text import known_names

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

SMALLEST_IMAGE = 32
"""Pixels: nearly every trunk reduces the side by 32; a smaller image has no last feature map."""

OWN: Mapping[str, Provider] = {
    "torchvision": torchvision_provider,
    "open_clip": open_clip_provider,
    "timm": timm_provider,
}
PROVIDERS: ExtensionPoint[Provider] = ExtensionPoint("backbones", OWN, OWN.__getitem__, fault)

BACKBONES: Mapping[str, BackboneSpec] = {
    name: spec for provider in OWN.values() for name, spec in provider.NAMED.items()
}
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
        open_names = [f"{key}:…" for key, provider in OWN.items() if provider.USAGE]
        open_names += [f"{plugin.name}:…" for plugin in PROVIDERS.plugins()]
        raise BackboneError(
            f"no backbone is called {name!r}; {known_names(name, [*BACKBONES, *open_names])}"
        )
    provider = _provider(prefix)
    if prefix not in OWN and not _MODEL.fullmatch(model):  # it becomes part of file names
        raise BackboneError(
            f"no backbone is called {name!r}; after the colon are letters, digits, '.', '_' and '-'"
        )
    provider.check_model(model)
    return None


def find_backbone(name: str) -> BackboneSpec:
    """Return the facts about a backbone. For ``timm:`` and ``open_clip:`` models it imports torch.

    Raises:
        BackboneError: there is none of that name, or it cannot be a backbone.
    """
    spec = known(name)
    if spec is None:
        prefix, _, model = name.partition(":")
        spec = OWN[prefix].find(model) if prefix in OWN else _ask(prefix, model)
    return spec


def _provider(prefix: str) -> Provider:
    try:
        return PROVIDERS[prefix]
    except PlugInError as error:
        raise BackboneError(str(error)) from None


@cache
def _ask(prefix: str, model: str) -> BackboneSpec:
    """Return what a package says about its model.

    Raises:
        BackboneError: it is not a spec of that model.
    """
    name, spec = f"{prefix}:{model}", _provider(prefix).find(model)
    if not isinstance(spec, BackboneSpec) or (spec.name, spec.provider) != (name, prefix):
        raise BackboneError(f"{name}: its package describes it as {spec!r:.300}")
    return spec


def locate_pretrained(name: str, weights_dir: Path | None) -> Path:
    """Return the file of a backbone's pretrained weights, downloaded if necessary.

    Raises:
        BackboneError: unknown name.
        WeightsError: it is not in ``weights_dir``, cannot be downloaded, or is damaged.
    """
    spec = find_backbone(name)
    return PROVIDERS[spec.provider].locate_weights(spec, weights_dir)


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
