"""CLIP's image towers as trunks: open_clip's networks with projection.

Its functions are described in `models.provider.Provider`. A model of ``open_clip:`` is an
architecture, or ``architecture.tag`` with open_clip's tag of published weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import BackboneError
from models.hub_files import HubFile, read_tensors
from models.network_libraries import import_library
from models.provider import BackboneSpec
from operation.files import parse_json
from operation.text import near_name

if TYPE_CHECKING:
    from torch import nn

USAGE = (
    "open_clip:ARCHITECTURE or open_clip:ARCHITECTURE.TAG, the image tower of any of open_clip's "
    "architectures, with the tag of published weights: open_clip:ViT-B-16.laion2b_s34b_b88k"
)

FILE_NAME = "open_clip_model.safetensors"

_IN_FILE = "visual."
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}(\.[a-z0-9_-]{1,99})?")

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_LICENCE = "OpenAI CLIP, MIT"


def _openai(name: str, builder: str, width: int, megabytes: int, weights: str) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        provider="open_clip",
        builder=builder,
        width=width,
        megabytes=megabytes,
        licence=_LICENCE,
        weights=weights,
        fixed_image_size=224,
        mean=_MEAN,
        std=_STD,
    )


NAMED: Mapping[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _openai(
            "clip-vit-b-32",
            "ViT-B-32-quickgelu",
            512,
            351,
            "timm/vit_base_patch32_clip_224.openai",
        ),
        _openai("clip-rn50", "RN50-quickgelu", 1024, 153, "timm/resnet50_clip.openai"),
    )
}
"""Two image towers of OpenAI's CLIP."""


def check_model(model: str) -> None:
    architecture_config(model)


def architecture_config(model: str) -> dict[str, Any]:
    """Return open_clip's description of an architecture, read without importing open_clip.

    Args:
        model: architecture, or ``architecture.tag``; the tag is not looked at.

    Raises:
        BackboneError: there is no such architecture.
    """
    if _MODEL.fullmatch(model) is None:
        raise BackboneError(
            f"{'open_clip:' + model!r} is not the name of an architecture: allowed are letters, "
            "digits, _ and -, and then . and a tag"
        )
    architecture = model.partition(".")[0]
    known = {path.stem: path for path in sorted(_configs_folder().glob("*.json"))}
    if architecture not in known:
        near = near_name(architecture, known)
        meant = f"did you mean {near}?" if near else "open_clip.list_models() has the names"
        raise BackboneError(f"open_clip has no architecture {architecture!r}; {meant}")
    config: dict[str, Any] = parse_json(known[architecture].read_text(encoding="utf-8"))
    return config


@lru_cache
def find(model: str) -> BackboneSpec:
    config = architecture_config(model)
    architecture, _, tag = model.partition(".")
    size = config["vision_cfg"]["image_size"]
    if not isinstance(size, int):
        raise BackboneError(f"open_clip:{model} takes images of {size}, which are not square")

    # Imported here: they take as long as torch itself.
    open_clip = import_library("open_clip")
    from models.trunk_facts import measure_trunk

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        near = near_name(tag, tags)
        meant = f"did you mean {near}?" if near else f"known are {', '.join(tags) or 'none'}"
        raise BackboneError(f"open_clip has no weights {tag!r} of {architecture}; {meant}")
    published = [open_clip.get_pretrained_cfg(architecture, each) for each in [tag] if each]
    # Without a tag, the normalisation of all weights of the architecture, or else CLIP's.
    alike = published or [open_clip.get_pretrained_cfg(architecture, each) for each in tags]
    normalisations = {(tuple(each["mean"]), tuple(each["std"])) for each in alike}
    mean, std = normalisations.pop() if len(normalisations) == 1 else (_MEAN, _STD)
    repository = published[0].get("hf_hub", "").strip("/") if published else ""
    facts = measure_trunk(_tower(architecture, "meta"))
    return BackboneSpec(
        name=f"open_clip:{model}",
        provider="open_clip",
        builder=architecture,
        width=config["embed_dim"],
        megabytes=facts.megabytes,
        licence=f"that of the weights; see {repository or 'where they are from'}",
        weights=repository,
        fixed_image_size=size,
        has_linear_layers=facts.has_linear_layers,
        mean=mean,
        std=std,
    )


def build_trunk(spec: BackboneSpec, device: str) -> nn.Module:
    return _tower(spec.builder, device)


def find_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
    return weights_file(spec).find(weights_dir)


def locate_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path:
    return weights_file(spec).locate(weights_dir)


def load_weights(trunk: nn.Module, spec: BackboneSpec, path: Path) -> None:  # noqa: ARG001
    """See `models.provider.Provider`; the text tower is not read."""
    from models.torchvision_weights import fill

    fill(trunk, read_tensors(path, _IN_FILE), path)


def weights_file(spec: BackboneSpec) -> HubFile:
    """Return where the weights of image and text tower are."""
    return HubFile(FILE_NAME, spec.weights, spec.name.partition(":")[2])


def _tower(architecture: str, device: str) -> nn.Module:
    # Imported here: it takes as long as torch itself, and other backbones do not need it.
    from models.empty_device import building_on

    open_clip = import_library("open_clip")
    config = open_clip.get_model_config(architecture)
    with building_on(device):
        if not config.get("custom_text") and "hf_model_name" not in config["text_cfg"]:
            # Its text tower is built with it, and dropped.
            trunk: nn.Module = open_clip.CLIP(**config).visual
        else:
            # Others' text towers may need the network, so open_clip's (private) builder of image
            # towers is used.
            vision = {**config["vision_cfg"], "timm_model_pretrained": False}
            trunk = open_clip.model._build_vision_tower(
                config["embed_dim"], vision, config.get("quick_gelu", False)
            )
    if getattr(trunk, "output_tokens", False):
        setattr(trunk, "output_tokens", False)  # noqa: B010 (CoCa's: the pooled features alone)
    return trunk.requires_grad_(True)


def _configs_folder() -> Path:
    found = find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise BackboneError("open_clip is not installed; install the package open_clip_torch")
    return Path(found.submodule_search_locations[0]) / "model_configs"
