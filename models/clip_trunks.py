"""CLIP's image towers as trunks: open_clip's networks with projection, OpenAI's weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from models.clip_files import locate_clip, open_tensors
from models.registry import BackboneSpec
from models.weights import fill

_IN_FILE = "visual."


def build_trunk(spec: BackboneSpec, device: str) -> nn.Module:
    """Build open_clip's image tower, randomly initialised, on a device: ``cpu`` or ``meta``."""
    # Imported here: it takes as long as torch itself, and no other backbone needs it.
    import open_clip

    # open_clip can build an image tower only together with its text tower, which is dropped.
    with torch.device(device):
        trunk: nn.Module = open_clip.CLIP(**open_clip.get_model_config(spec.builder)).visual
    return trunk


def locate_weights(spec: BackboneSpec, weights_dir: Path | None) -> Path:
    """Return the file of OpenAI's weights, downloaded if necessary.

    Raises:
        WeightsError: it is missing or cannot be downloaded.
    """
    return locate_clip(spec.weights, weights_dir)


def load_weights(trunk: nn.Module, spec: BackboneSpec, path: Path) -> None:  # noqa: ARG001
    """Fill a trunk, on the meta device or not, with the image tower in a file, strictly.

    The text tower is not read. Floats of fewer bits become float32.

    Raises:
        WeightsError: the file is damaged or holds another image tower, or none.
    """
    with open_tensors(path) as file:
        state = {
            name.removeprefix(_IN_FILE): _owned(file.get_tensor(name))
            for name in file.keys()  # noqa: SIM118 (it is not a dictionary)
            if name.startswith(_IN_FILE)
        }
    fill(trunk, state, path)


def _owned(tensor: Tensor) -> Tensor:
    """Copy a tensor that maps a file into memory; floats as float32."""
    return tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
