"""The text encoders: CLIP's text towers, by OpenAI's names, or as ``open_clip:architecture``.

It does not import torch, so that checking a config is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models import open_clip_provider
from models.errors import BackboneError
from models.hub_files import HubFile
from operation.text import known_names


@dataclass(frozen=True)
class TextEncoderSpec:
    """The facts about one text encoder.

    Attributes:
        name: OpenAI's name for the model, which is that of the study (docs/study.md); or
            ``open_clip:architecture``, or ``open_clip:architecture.tag``.
        builder: open_clip's name for it.
        width: D, the length of its text features.
        repository: the hub's repository with its weights, ``open_clip_model.safetensors``; empty
            if `weights_file` must ask open_clip.
        image_tower: the backbone that is its own image tower; None if there is none here.
    """

    name: str
    builder: str
    width: int
    repository: str
    image_tower: str | None = None


TEXT_ENCODERS: Mapping[str, TextEncoderSpec] = {
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
"""The study's three, and those that belong to the CLIP image towers among the backbones."""


_PREFIX = "open_clip:"

# Other towers have tokenizers and pooling of their own, which models/text_tower.py does not read.
_TEXT_KEYS = {"context_length", "vocab_size", "width", "heads", "layers"}
_CLIPS_TOKENS = (77, 49408)


def find_text_encoder(name: str) -> TextEncoderSpec:
    """Return the facts about a text encoder, without torch.

    Raises:
        BackboneError: there is none; the message suggests a name, or lists all.
    """
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]
    if not name.startswith(_PREFIX):
        raise BackboneError(
            f"no text encoder is called {name!r}; "
            f"{known_names(name, [*TEXT_ENCODERS, f'{_PREFIX}…'])}"
        )
    model = name.removeprefix(_PREFIX)
    config = open_clip_provider.architecture_config(model)
    text = config["text_cfg"]
    tokens = (text.get("context_length"), text.get("vocab_size"))
    if text.keys() != _TEXT_KEYS or config.get("custom_text") or tokens != _CLIPS_TOKENS:
        raise BackboneError(
            f"{name} has a text tower of another kind than CLIP's, which is not supported; its "
            "image tower can be a backbone"
        )
    architecture = model.partition(".")[0]
    return TextEncoderSpec(name, architecture, config["embed_dim"], "", image_tower=name)


def weights_file(spec: TextEncoderSpec) -> HubFile:
    """Return where the weights of a text encoder are; for ``open_clip:`` names it imports torch.

    Raises:
        BackboneError: open_clip has no weights of that tag.
    """
    model = spec.name.removeprefix(_PREFIX)
    if model == spec.name:
        return HubFile(open_clip_provider.FILE_NAME, spec.repository)
    return open_clip_provider.weights_file(open_clip_provider.find(model))


def weights_label(spec: TextEncoderSpec) -> str | None:
    """Return what tells a text encoder's published weights from others; None if they have no name.

    The weights of an architecture without a tag are whatever the weights folder holds.
    """
    model = spec.name.removeprefix(_PREFIX)
    return "openai" if model == spec.name else model.partition(".")[2] or None
