"""torchvision's networks as trunks: without the last Linear layer, with ImageNet weights.

Its functions are described in `models.provider.Provider`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from models.errors import BackboneError
from models.network_libraries import import_library
from models.provider import BackboneSpec

if TYPE_CHECKING:
    from torch import nn

USAGE = ""

_LICENCE = "torchvision, BSD-3-Clause; trained on ImageNet-1K"
_SWAG_LICENCE = "SWAG (facebookresearch/SWAG), CC-BY-NC 4.0: non-commercial use only"


def _network(
    name: str,
    builder: str,
    width: int,
    classifier: str,
    megabytes: int,
    *,
    fixed_image_size: int | None = None,
    has_linear_layers: bool = True,
    weights: str = "IMAGENET1K_V1",
    licence: str = _LICENCE,
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        provider="torchvision",
        builder=builder,
        width=width,
        classifier=classifier,
        megabytes=megabytes,
        fixed_image_size=fixed_image_size,
        has_linear_layers=has_linear_layers,
        weights=weights,
        licence=licence,
    )


NAMED: Mapping[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _network("convnext_t", "convnext_tiny", 768, "classifier.2", 111),
        _network("convnext_s", "convnext_small", 768, "classifier.2", 198),
        _network("convnext_b", "convnext_base", 1024, "classifier.2", 350),
        _network("convnext_l", "convnext_large", 1536, "classifier.2", 785),
        _network("maxvit_t", "maxvit_t", 512, "classifier.5", 122, fixed_image_size=224),
        _network("swin_t", "swin_t", 768, "head", 110),
        _network("swin_s", "swin_s", 768, "head", 196),
        _network("swin_b", "swin_b", 1024, "head", 347),
        _network("swin_v2_t", "swin_v2_t", 768, "head", 111),
        _network("swin_v2_s", "swin_v2_s", 768, "head", 197),
        _network("swin_v2_b", "swin_v2_b", 1024, "head", 348),
        _network(
            "vit_l_16",
            "vit_l_16",
            1024,
            "heads.head",
            1213,
            fixed_image_size=224,
            weights="IMAGENET1K_SWAG_LINEAR_V1",
            licence=_SWAG_LICENCE,
        ),
        _network("resnet18", "resnet18", 512, "fc", 45, has_linear_layers=False),
    )
}
"""The study's twelve (docs/study.md), and resnet18 for demos and tests."""

FILES: Mapping[str, str] = {
    "convnext_t": "convnext_tiny-983f1562.pth",
    "convnext_s": "convnext_small-0c510722.pth",
    "convnext_b": "convnext_base-6075fbad.pth",
    "convnext_l": "convnext_large-ea097f82.pth",
    "maxvit_t": "maxvit_t-bc5ab103.pth",
    "swin_t": "swin_t-704ceda3.pth",
    "swin_s": "swin_s-5e29d889.pth",
    "swin_b": "swin_b-68c6b09e.pth",
    "swin_v2_t": "swin_v2_t-b137f0e2.pth",
    "swin_v2_s": "swin_v2_s-637d8ceb.pth",
    "swin_v2_b": "swin_v2_b-781e5279.pth",
    "vit_l_16": "vit_l_16_lc_swag-4d563306.pth",
    "resnet18": "resnet18-f37072fd.pth",
}
"""torchvision's weight file of each backbone; a test compares the names with torchvision."""


def check_model(model: str) -> NoReturn:
    raise BackboneError(
        f"no backbone is called {'torchvision:' + model!r}; torchvision's are written without a "
        f"prefix: {', '.join(NAMED)}"
    )


def find(model: str) -> BackboneSpec:
    check_model(model)


def build_trunk(spec: BackboneSpec, device: str) -> nn.Module:
    # Never import torchvision under torch.device("meta"): its own tensors would stay empty.
    from torch import nn

    from models.empty_device import building_on

    models = import_library("torchvision.models")
    with building_on(device):
        trunk: nn.Module = models.get_model(spec.builder, weights=None, num_classes=1)
    trunk.set_submodule(spec.classifier, nn.Identity(), strict=True)
    return trunk


def find_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
    from models.torchvision_weights import hub_folder

    weights_dir = weights_dir or hub_folder()
    path = weights_dir / FILES[spec.name]
    return path if path.is_file() else None


def locate_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path:
    from models.torchvision_weights import check_hash, locate

    path = find_weights(spec, weights_dir)
    if path is None:
        return locate(_weights_url(spec), weights_dir)  # the URL is in torchvision
    check_hash(path)
    return path


def load_weights(trunk: nn.Module, spec: BackboneSpec, path: Path) -> None:
    from models.torchvision_weights import load_pretrained

    load_pretrained(trunk, path, head=spec.classifier)


def _weights_url(spec: BackboneSpec) -> str:
    models = import_library("torchvision.models")
    url: str = models.get_model_weights(spec.builder)[spec.weights].url
    return url
