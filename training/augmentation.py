"""The augmentations by name: what happens to images before crop and flip (docs/study.md).

They are torchvision's v2 transforms on whole batches, so each draws once for all images of a batch;
the crop and the flip that follow are drawn for each image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from training.randomness import layer_randomness

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def _light() -> nn.Module:
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomVerticalFlip(),
            v2.RandomRotation(15, v2.InterpolationMode.BILINEAR),
            v2.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1),
        ]
    )


def _strong() -> nn.Module:
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR
    return v2.Compose(
        [
            v2.RandomVerticalFlip(),
            v2.RandomAffine(180, (0.1, 0.1), (0.8, 1.2), shear=10, interpolation=bilinear),
            v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05),
            v2.RandomErasing(p=0.5, scale=(0.02, 0.1)),
        ]
    )


AUGMENTATIONS: Mapping[str, Callable[[], nn.Module] | None] = {
    "study": None,
    "light": _light,
    "strong": _strong,
}


def augmented(images: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Return images changed at random; under ``study`` themselves, and nothing is drawn.

    Args:
        images: uint8 (B, S, S, 3), on any device.
        name: in `AUGMENTATIONS`.
        generator: a CPU generator, of which one number is drawn. The transforms themselves can
            only use torch's global generators, so these are seeded with it and restored.
    """
    build = AUGMENTATIONS[name]
    if build is None:
        return images
    import torch

    seed = int(torch.randint(2**62, (), generator=generator))
    with layer_randomness(seed, images.device):
        changed: Tensor = build()(images.permute(0, 3, 1, 2))
    return changed.permute(0, 2, 3, 1).contiguous()
