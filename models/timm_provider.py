"""timm's networks as trunks: every model of the library that ends in pooled features.

Its functions are described in `models.provider.Provider`. A model of ``timm:`` is an
architecture, or ``architecture.tag`` with timm's tag of published weights; without a tag, they are
timm's default for the architecture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import BackboneError, WeightsError
from models.hub_files import HubFile, read_tensors
from models.network_libraries import import_library
from models.provider import BackboneSpec
from operation.text import near_name

if TYPE_CHECKING:
    from timm.models import PretrainedCfg
    from torch import nn

NAMED: Mapping[str, BackboneSpec] = {}

USAGE = (
    "timm:MODEL or timm:MODEL.TAG, any of timm's models that ends in pooled features, with the tag "
    "of published weights: timm:tf_efficientnet_lite0"
)

FILE_NAME = "model.safetensors"

_MODEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")


def check_model(model: str) -> None:
    if _MODEL.fullmatch(model) is None:
        raise BackboneError(
            f"{'timm:' + model!r} is not the name of a model of timm: allowed are small letters, "
            "digits, ., _ and -"
        )


@lru_cache
def find(model: str) -> BackboneSpec:
    check_model(model)

    # Imported here: they take as long as torch itself.
    timm = import_library("timm")
    from models.trunk_facts import measure_trunk

    published = timm.list_models(pretrained=True)
    if model not in published and not timm.is_model(model):
        near = near_name(model, [*timm.list_models(), *published])
        meant = f"did you mean {near}?" if near else "timm.list_models() has the names"
        raise BackboneError(f"timm has no model {model!r}; {meant}")
    if "." in model and model not in published:
        raise BackboneError(
            f"timm has no weights {model!r}; it has "
            f"{', '.join(timm.list_pretrained(model.partition('.')[0] + '.*')) or 'none'}"
        )
    facts = _facts(model)
    channels, height, width = facts.input_size
    if channels != 3 or height != width:
        raise BackboneError(
            f"timm:{model} takes {channels} channels of {height} x {width} pixels, not square "
            "images in colour"
        )
    name = f"timm:{model}"
    trunk: Any = _trunk(model, "meta")
    found = measure_trunk(trunk)
    return BackboneSpec(
        name=name,
        provider="timm",
        builder=model,
        # Of some networks the classifier has a layer more before it.
        width=getattr(trunk, "head_hidden_size", None) or trunk.num_features,
        megabytes=found.megabytes,
        licence=f"timm, {facts.license or 'licence not stated'}; {facts.hf_hub_id or 'no weights'}",
        weights=facts.hf_hub_id or "",
        fixed_image_size=height if facts.fixed_input_size else None,
        has_linear_layers=found.has_linear_layers,
        mean=_triple(facts.mean),
        std=_triple(facts.std),
    )


def build_trunk(spec: BackboneSpec, device: str) -> nn.Module:
    return _trunk(spec.builder, device)


def find_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
    return _file(spec).find(weights_dir)


def locate_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path:
    return _file(spec).locate(weights_dir)


def load_weights(trunk: nn.Module, spec: BackboneSpec, path: Path) -> None:
    """See `models.provider.Provider`; the weights of timm's own classifier are not used."""
    from models.torchvision_weights import fill

    names = _facts(spec.builder).classifier or ()
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    expected = trunk.state_dict()
    # Older files also hold tables that timm computes today, such as Swin's attention masks.
    computed = {name for name, _ in trunk.named_buffers()} - expected.keys()
    state = {
        name: tensor
        for name, tensor in read_tensors(path).items()
        if name in expected or not (name.startswith(heads) or name in computed)
    }
    for name in sorted(state.keys() | expected.keys()):
        if name not in state:
            how = "is missing"
        elif name not in expected:
            how = "is not expected"
        elif state[name].shape != expected[name].shape:
            how = f"is of shape {tuple(state[name].shape)}, not {tuple(expected[name].shape)}"
        else:
            continue
        raise WeightsError(f"{path} does not hold the weights of {spec.name}: {name} {how}")
    fill(trunk, state, path)


def _file(spec: BackboneSpec) -> HubFile:
    return HubFile(FILE_NAME, spec.weights, spec.builder)


def _facts(model: str) -> PretrainedCfg:
    facts: PretrainedCfg | None = import_library("timm").get_pretrained_cfg(model)
    if facts is None:
        raise BackboneError(f"timm says nothing of the images that {model} takes")
    return facts


def _triple(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return (red, green, blue)


def _trunk(model: str, device: str) -> nn.Module:
    from models.empty_device import building_on

    timm = import_library("timm")
    with building_on(device):
        trunk: nn.Module = timm.create_model(model, pretrained=False, num_classes=0)
    # A few models freeze a part; here the config's key trainable decides.
    return trunk.requires_grad_(True)
