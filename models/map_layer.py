"""Finds the layer of a network whose output still has positions of the image: for heat maps.

Nothing is known of the networks of a library by their names here, so the layer is found by running
the network once: also for any model of timm or open_clip, and for a package's.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones import Backbone
from models.errors import BackboneError

FINE_GRID = 7
"""Positions along a side that are enough for a map: what most networks end with at 224 pixels."""

# Their inner layers have one output for each pair of positions, or for each head.
_ATTENTION = ("attention", "attn")

_PREFIX = "num_prefix_tokens"


@dataclass(frozen=True)
class MapLayer:
    """A layer, and where the positions of the image are in its output.

    Attributes:
        name: in the network.
        grid: g, positions along a side.
        prefix: number of tokens before those of the image, such as a class token.
        form: ``maps`` (B, C, g, g), ``maps, channels last`` (B, g, g, C), ``tokens``
            (B, prefix + g², C) or ``tokens first`` (prefix + g², B, C).
    """

    name: str
    module: nn.Module
    grid: int
    prefix: int
    form: str

    def by_position(self, output: Tensor) -> Tensor:
        """Return an output of the layer, or its gradient, as (B, C, g, g)."""
        if self.form == "maps":
            return output
        if self.form == "maps, channels last":
            return output.permute(0, 3, 1, 2)
        tokens = output if self.form == "tokens" else output.transpose(0, 1)
        of_image = tokens[:, self.prefix :].transpose(1, 2)
        return of_image.reshape(len(of_image), -1, self.grid, self.grid)


def find_map_layer(network: Backbone, image_size: int) -> MapLayer:
    """Return the last layer with positions of the image on which the network's answer depends.

    A layer before it is taken if the last one has fewer than 7 x 7 positions. A vision transformer
    that answers by its class token depends on the other tokens up to its last attention only, so
    its layer is the normalisation before that.

    Args:
        network: in evaluation mode, left unchanged.
        image_size: the images' side in pixels.

    Raises:
        BackboneError: no layer has such an output.
    """
    found = _layers_with_positions(network, image_size)
    if not found:
        raise BackboneError("none of its layers has an output for each position of the image")
    finest = max(min(layer.grid, FINE_GRID) for layer in found)
    return next(layer for layer in reversed(found) if layer.grid >= finest)


def _layers_with_positions(network: Backbone, image_size: int) -> list[MapLayer]:
    """Return all such layers, in the order in which they are computed."""
    generator = torch.Generator().manual_seed(0)
    device = next(network.parameters()).device
    images = torch.randn(2, 3, image_size, image_size, generator=generator).to(device)
    # timm's networks say how many; others have a class token, or none.
    said: list[Any] = [m.num_prefix_tokens for m in network.modules() if hasattr(m, _PREFIX)]
    prefixes = (int(said[0]),) if said else (0, 1)
    outputs: list[tuple[MapLayer, Tensor]] = []
    hooks = []
    inside: set[str] = set()
    for name, module in network.trunk.named_modules(prefix="trunk"):
        if any(name.startswith(outer) for outer in inside):
            continue
        if any(word in type(module).__name__.lower() for word in _ATTENTION):
            inside.add(f"{name}.")

        def keep(module: nn.Module, _: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor) and output.requires_grad:
                layer = _with_positions(name, module, output, prefixes, image_size)
                if layer is not None:
                    outputs.append((layer, output))

        hooks.append(module.register_forward_hook(keep))
    try:
        with torch.enable_grad():
            logits = network(images.requires_grad_())
            gradients = (
                torch.autograd.grad(
                    logits[:, 0].sum(), [output for _, output in outputs], allow_unused=True
                )
                if outputs
                else ()
            )
    finally:
        for hook in hooks:
            hook.remove()
    calls = [layer.name for layer, _ in outputs]
    return [
        layer
        for (layer, _), gradient in zip(outputs, gradients, strict=True)
        if calls.count(layer.name) == 1 and _matters(layer, gradient)
    ]


def _with_positions(
    name: str, module: nn.Module, output: Tensor, prefixes: tuple[int, ...], image_size: int
) -> MapLayer | None:
    shape = tuple(output.shape)
    if len(shape) == 4 and shape[0] == 2:
        last = shape[1] == shape[2]
        if last == (shape[2] == shape[3]):  # neither, or no telling which
            return None
        grid = shape[2]
        form = "maps, channels last" if last else "maps"
        prefix = 0
    elif len(shape) == 3 and 2 in shape[:2]:
        first = shape[0] != 2
        number = shape[0] if first else shape[1]
        fitting = [p for p in prefixes if number > p and isqrt(number - p) ** 2 == number - p]
        if not fitting:
            return None
        prefix = fitting[0]
        grid, form = isqrt(number - prefix), "tokens first" if first else "tokens"
    else:
        return None
    if not 2 <= grid <= image_size // 2:
        return None
    return MapLayer(name, module, grid, prefix, form)


def _matters(layer: MapLayer, gradient: Tensor | None) -> bool:
    """Return whether the answer depends on at least half of the positions."""
    if gradient is None:
        return False
    return bool((layer.by_position(gradient)[0].abs().sum(dim=0) > 0).float().mean() >= 0.5)
