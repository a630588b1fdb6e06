"""Facts about a trunk that are read off the network itself, on the meta device."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.errors import BackboneError, first_line


@dataclass(frozen=True)
class TrunkFacts:
    """What a trunk is, whatever its library says; see `models.provider.BackboneSpec`."""

    megabytes: int
    has_linear_layers: bool


def measure_trunk(trunk: nn.Module) -> TrunkFacts:
    """Return the facts about a trunk, which may be on the meta device."""
    state = trunk.state_dict().values()
    return TrunkFacts(
        megabytes=max(1, round(sum(t.numel() * t.element_size() for t in state) / 1e6)),
        has_linear_layers=any(
            isinstance(module, nn.Linear | nn.MultiheadAttention) for module in trunk.modules()
        ),
    )


def run_empty(name: str, trunk: nn.Module, image_size: int) -> int:
    """Run a trunk on the meta device, which infers shapes without computing.

    Returns:
        The number of features of an image.

    Raises:
        BackboneError: it does not turn images of this side into feature vectors.
    """
    if not isinstance(trunk, nn.Module):
        raise BackboneError(f"{name} is built as {type(trunk).__name__}, not as a torch module")
    images = torch.empty(2, 3, image_size, image_size, device="meta")
    try:
        with torch.no_grad():
            features = trunk.eval()(images)
    except (RuntimeError, AssertionError, ValueError, IndexError, TypeError) as error:
        raise BackboneError(
            f"{name} cannot take images of {image_size} pixels ({first_line(error)})"
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise BackboneError(
            f"{name} does not end in one feature vector an image, but in {shape} for two images"
        )
    return int(features.shape[1])


def is_all_in_state(trunk: nn.Module) -> bool:
    """Return whether all tensors of a trunk are in its state dict.

    Otherwise some are computed when it is built, and a trunk from the meta device would lack them.
    """
    state = trunk.state_dict().keys()
    hidden = any(name not in state for name, _ in trunk.named_buffers())
    attributes = (value for module in trunk.modules() for value in vars(module).values())
    return not hidden and not any(isinstance(value, Tensor) for value in attributes)
