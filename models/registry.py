"""The table of the backbones: the facts about each, known without building it.

It does not import torch, so that checking a config is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from models.errors import BackboneError
from operation.names import known_names

_TORCHVISION_LICENCE = "torchvision, BSD-3-Clause; trained on ImageNet-1K"
_CLIP_LICENCE = "OpenAI CLIP, MIT"
_SWAG_LICENCE = "SWAG (facebookresearch/SWAG), CC-BY-NC 4.0: non-commercial use only"

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

SMALLEST_IMAGE = 32
"""Pixels: every trunk reduces the side by 32, so a smaller image has no last feature map."""


@dataclass(frozen=True)
class BackboneSpec:
    """The facts about one backbone.

    Attributes:
        name: the project's name for it, which is that of the study (docs/study.md) where it
            has one.
        builder: its library's name for it.
        width: number of features that enter the classifier.
        classifier: name, inside torchvision's module, of the Linear layer that our head replaces;
            empty for open_clip's image towers, which have none: our head follows their projection.
        megabytes: size of its weights as float32, in 10^6 bytes, with a small classifier.
        library: the library that it is from.
        weights: the pretrained weights: member of torchvision's weights enum, or the hub's
            repository of an open_clip model.
        fixed_image_size: the only image size it takes, in pixels; None: any from
            ``SMALLEST_IMAGE`` up, multiple of 32 or not.
        stochastic_depth: probability that training drops the last residual block of an
            image (the first blocks: 0, linear between); drawn from torch's global generator of
            the images' device. No backbone has dropout.
        has_batch_norm: whether the state dict has running statistics with int64 counters, and a
            training batch of one image fails or works badly.
        has_linear_layers: whether its trunk has attention or linear layers, which LoRA updates.
        mean, std: normalisation of the channels R, G, B of an image with values in [0, 1].
        licence: source and terms of the weights.
    """

    name: str
    builder: str
    width: int
    classifier: str
    megabytes: int
    library: Literal["torchvision", "open_clip"] = "torchvision"
    weights: str = "IMAGENET1K_V1"
    fixed_image_size: int | None = None
    stochastic_depth: float = 0.0
    has_batch_norm: bool = False
    has_linear_layers: bool = True
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    licence: str = _TORCHVISION_LICENCE


BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            BackboneSpec(
                "convnext_t",
                "convnext_tiny",
                768,
                "classifier.2",
                megabytes=111,
                stochastic_depth=0.1,
            ),
            BackboneSpec(
                "convnext_s",
                "convnext_small",
                768,
                "classifier.2",
                megabytes=198,
                stochastic_depth=0.4,
            ),
            BackboneSpec(
                "convnext_b",
                "convnext_base",
                1024,
                "classifier.2",
                megabytes=350,
                stochastic_depth=0.5,
            ),
            BackboneSpec(
                "convnext_l",
                "convnext_large",
                1536,
                "classifier.2",
                megabytes=785,
                stochastic_depth=0.5,
            ),
            BackboneSpec(
                "maxvit_t",
                "maxvit_t",
                512,
                "classifier.5",
                megabytes=122,
                fixed_image_size=224,
                stochastic_depth=0.2,
                has_batch_norm=True,
            ),
            BackboneSpec("swin_t", "swin_t", 768, "head", megabytes=110, stochastic_depth=0.2),
            BackboneSpec("swin_s", "swin_s", 768, "head", megabytes=196, stochastic_depth=0.3),
            BackboneSpec("swin_b", "swin_b", 1024, "head", megabytes=347, stochastic_depth=0.5),
            BackboneSpec(
                "swin_v2_t", "swin_v2_t", 768, "head", megabytes=111, stochastic_depth=0.2
            ),
            BackboneSpec(
                "swin_v2_s", "swin_v2_s", 768, "head", megabytes=197, stochastic_depth=0.3
            ),
            BackboneSpec(
                "swin_v2_b", "swin_v2_b", 1024, "head", megabytes=348, stochastic_depth=0.5
            ),
            BackboneSpec(
                "vit_l_16",
                "vit_l_16",
                1024,
                "heads.head",
                megabytes=1213,
                weights="IMAGENET1K_SWAG_LINEAR_V1",
                fixed_image_size=224,
                licence=_SWAG_LICENCE,
            ),
            BackboneSpec(
                "resnet18",
                "resnet18",
                512,
                "fc",
                megabytes=45,
                has_batch_norm=True,
                has_linear_layers=False,
            ),
            BackboneSpec(
                "clip-vit-b-32",
                "ViT-B-32-quickgelu",
                512,
                "",
                megabytes=351,
                library="open_clip",
                weights="timm/vit_base_patch32_clip_224.openai",
                fixed_image_size=224,
                mean=_CLIP_MEAN,
                std=_CLIP_STD,
                licence=_CLIP_LICENCE,
            ),
            BackboneSpec(
                "clip-rn50",
                "RN50-quickgelu",
                1024,
                "",
                megabytes=153,
                library="open_clip",
                weights="timm/resnet50_clip.openai",
                fixed_image_size=224,
                has_batch_norm=True,
                mean=_CLIP_MEAN,
                std=_CLIP_STD,
                licence=_CLIP_LICENCE,
            ),
        )
    }
)
"""By name: the study's twelve, resnet18 for demos and tests, and two image towers of CLIP."""


def find(name: str) -> BackboneSpec:
    """Return the table's entry of that name.

    Raises:
        BackboneError: there is none; the message suggests a name, or lists all.
    """
    if name not in BACKBONES:
        raise BackboneError(f"no backbone is called {name!r}; {known_names(name, BACKBONES)}")
    return BACKBONES[name]


def check_image_size(name: str, image_size: int) -> None:
    """Check that a backbone takes images of a size, in pixels.

    Raises:
        BackboneError: the name is unknown, or the backbone cannot take that size; the message
            says which sizes it takes.
    """
    fixed = find(name).fixed_image_size
    if fixed is not None and image_size != fixed:
        raise BackboneError(f"{name} takes images of {fixed} pixels only, not {image_size}")
    if image_size < SMALLEST_IMAGE:
        raise BackboneError(
            f"{name} takes images of {SMALLEST_IMAGE} pixels or more, not {image_size}"
        )
