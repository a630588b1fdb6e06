"""Finds out, without torch or a network, whether pretrained weights are on this machine.

Only the file's name is checked; `models.backbones.locate_pretrained` checks the content.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from models.clip_files import FILE_NAME
from models.registry import BackboneSpec

TORCHVISION_FILES: Mapping[str, str] = MappingProxyType(
    {
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
)
"""torchvision's weight file of each backbone; a test compares the names with torchvision."""


def find_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path | None:
    """Return the file that ``pretrained`` would use; None if it is not on this machine.

    Args:
        spec: the backbone.
        weights_dir: as in a config; None for the libraries' own caches.
    """
    places = _clip_places if spec.library == "open_clip" else _torchvision_places
    return next((path for path in places(spec, weights_dir) if path.is_file()), None)


def _torchvision_places(spec: BackboneSpec, weights_dir: Path | None) -> Iterable[Path]:
    if weights_dir is None:  # as torch.hub.get_dir says
        cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        home = os.environ.get("TORCH_HOME", f"{cache}/torch")
        weights_dir = Path(home).expanduser() / "hub" / "checkpoints"
    return [weights_dir / TORCHVISION_FILES[spec.name]]


def _clip_places(spec: BackboneSpec, weights_dir: Path | None) -> Iterable[Path]:
    if weights_dir is None:
        from huggingface_hub.constants import HF_HUB_CACHE

        kept = Path(HF_HUB_CACHE) / f"models--{spec.weights.replace('/', '--')}" / "snapshots"
        return kept.glob(f"*/{FILE_NAME}")
    name = spec.weights.rpartition("/")[2]
    return [weights_dir / name / FILE_NAME, weights_dir / f"{name}.safetensors"]
