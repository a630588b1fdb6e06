"""The table of the text encoders: CLIP's text towers, by OpenAI's names for the models.

It does not import torch, so that checking a config is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from models.errors import BackboneError
from operation.names import known_names


@dataclass(frozen=True)
class TextEncoderSpec:
    """The facts about one text encoder.

    Attributes:
        name: OpenAI's name for the model, which is that of the study (docs/study.md).
        builder: open_clip's name for it.
        width: D, the length of its text features.
        repository: the hub's repository with its weights, ``open_clip_model.safetensors``.
        image_tower: the backbone that is its own image tower; None if there is none here.
    """

    name: str
    builder: str
    width: int
    repository: str
    image_tower: str | None = None


TEXT_ENCODERS: Mapping[str, TextEncoderSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            TextEncoderSpec(
                "ViT-L/14", "ViT-L-14-quickgelu", 768, "timm/vit_large_patch14_clip_224.openai"
            ),
            TextEncoderSpec("RN50x16", "RN50x16-quickgelu", 768, "timm/resnet50x16_clip.openai"),
            TextEncoderSpec("RN50x64", "RN50x64-quickgelu", 1024, "timm/resnet50x64_clip.openai"),
            TextEncoderSpec(
                "ViT-B/32",
                "ViT-B-32-quickgelu",
                512,
                "timm/vit_base_patch32_clip_224.openai",
                image_tower="clip-vit-b-32",
            ),
            TextEncoderSpec(
                "RN50", "RN50-quickgelu", 1024, "timm/resnet50_clip.openai", image_tower="clip-rn50"
            ),
        )
    }
)
"""The study's three, and those that belong to the CLIP image towers among the backbones."""


def find(name: str) -> TextEncoderSpec:
    """Return the table's entry of that name.

    Raises:
        BackboneError: there is none; the message suggests a name, or lists all.
    """
    if name not in TEXT_ENCODERS:
        raise BackboneError(
            f"no text encoder is called {name!r}; {known_names(name, TEXT_ENCODERS)}"
        )
    return TEXT_ENCODERS[name]
