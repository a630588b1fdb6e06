"""Whole CLIP models with few and random weights, and files of them as the hub keeps them."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

# Of the widths that the table gives ViT-B/32 and clip-vit-b-32, and small in all else.
SMALL = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}
ENCODER, TOWER = "ViT-B/32", "clip-vit-b-32"
NAME = "vit_base_patch32_clip_224.openai"


def make_small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have open_clip know no other architecture than ``SMALL``; a whole model of it."""
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: SMALL)
    return draw(SMALL)


def draw(config: dict) -> Any:
    """Return a whole model with random weights, biases and norms too, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(6)
        model = open_clip.CLIP(**config).eval()
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1:  # open_clip's start at one and zero, which would hide swaps
                parameter.data.add_(torch.randn(parameter.shape), alpha=0.1)
            assert parameter.isfinite().all(), key
    return model


def bring(model: Any, folder: Path, dtype: torch.dtype = torch.float32, name: str = NAME) -> Path:
    """Save a model as ``hf download`` would bring it."""
    path = folder / name / "open_clip_model.safetensors"
    path.parent.mkdir(parents=True)
    state = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in model.state_dict().items()
    }
    save_file(state, path)
    return path


def rewrite(path: Path, **changes: torch.Tensor | None) -> None:
    """Change tensors of a file; None takes one away."""
    from safetensors.torch import load_file

    state = {**load_file(path), **changes}
    save_file({key: tensor for key, tensor in state.items() if tensor is not None}, path)
