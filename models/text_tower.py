"""CLIP's text towers: from prompts to text features.

The image tower is never built and its weights are not read. A pretrained text tower runs only
once, on a few words, so its weights are loaded block by block and take little memory.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.empty_device import building_on, in_memory
from models.errors import WeightsError
from models.hub_files import open_tensors
from models.network_libraries import import_library
from models.seeding import seeded_globally
from models.text_encoders import TextEncoderSpec

RANDOM_LOGIT_SCALE = 100.0
"""1/τ of a random tower: the value of OpenAI's trained models."""

_FLOATS = ("F16", "BF16", "F32")


def encode_pretrained(
    spec: TextEncoderSpec, prompts: Sequence[str], path: Path
) -> tuple[Tensor, float]:
    """Return text features and logit scale of a text encoder with trained weights.

    Args:
        prompts: K texts; only the first 77 tokens of each are used.
        path: safetensors file of the whole CLIP model with open_clip's names, in float32, float16
            or bfloat16.

    Returns:
        Float32 features (K, D), rows of unit length, and 1/τ.

    Raises:
        WeightsError: the file is damaged or does not hold exactly this text tower.
    """
    tower = _tower(spec, "meta")
    _check_names_and_shapes(spec, tower, path)
    tower.attn_mask = tower.build_causal_mask()  # the only tensor that is not in the file
    small = ("positional_embedding", "text_projection", "ln_final.weight", "ln_final.bias")
    tower.load_state_dict(_read(path, small), strict=False, assign=True)
    tower.token_embedding = _TokenRows(path)
    blocks = tower.transformer.resblocks
    # One block module is used for all, each time with the weights of the next block.
    block = in_memory(blocks[0])
    block.register_forward_pre_hook(partial(_fill, path, iter(range(len(blocks)))))
    tower.transformer.resblocks = nn.ModuleList([block] * len(blocks))
    features = _encode(tower, prompts)
    logit_scale = float(_read(path, ["logit_scale"])["logit_scale"].exp())
    if not features.isfinite().all():
        raise WeightsError(f"{path} holds NaN or infinity, or weights that produce them")
    return features, logit_scale


def encode_random(spec: TextEncoderSpec, prompts: Sequence[str], seed: int) -> tuple[Tensor, float]:
    """Return text features and logit scale of a random text encoder, drawn from ``seed``."""
    return _encode(random_tower(spec, seed), prompts), RANDOM_LOGIT_SCALE


def random_tower(spec: TextEncoderSpec, seed: int) -> nn.Module:
    """Build a text tower in evaluation mode: tokens (K, 77) int64 → (K, D) float32."""
    with seeded_globally(seed):
        tower: nn.Module = _tower(spec, "cpu")
    return tower


def _tower(spec: TextEncoderSpec, device: str) -> Any:
    """Build open_clip's text tower alone, in evaluation mode."""
    # Imported here: it takes as long as torch itself.
    open_clip = import_library("open_clip")
    layers = open_clip.transformer
    config = open_clip.get_model_config(spec.builder)
    with building_on(device):
        return layers.TextTransformer(
            **config["text_cfg"],
            output_dim=config["embed_dim"],
            act_layer=layers.QuickGELU if config.get("quick_gelu") else nn.GELU,
        ).eval()


def _encode(tower: nn.Module, prompts: Sequence[str]) -> Tensor:
    tokenize = import_library("open_clip").tokenize
    with torch.inference_mode():
        features: Tensor = F.normalize(tower(tokenize(list(prompts))), dim=-1)
    return features


def _check_names_and_shapes(spec: TextEncoderSpec, tower: nn.Module, path: Path) -> None:
    """Compare the file's header with the tower before reading tensors."""
    expected = {name: list(tensor.shape) for name, tensor in tower.state_dict().items()}
    expected["logit_scale"] = []
    found = {}
    with open_tensors(path) as file:
        for name in file.keys():  # noqa: SIM118 (it is not a dictionary)
            if not name.startswith("visual."):
                tensor = file.get_slice(name)
                found[name] = tensor.get_shape() if tensor.get_dtype() in _FLOATS else None
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if wrong:
        raise WeightsError(
            f"{path} does not hold the text tower of {spec.name}: {wrong[0]} is missing, not "
            "expected, or of another shape or type"
        )


def _read(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    with open_tensors(path) as file:
        return {name: file.get_tensor(name).to(torch.float32, copy=True) for name in names}


class _TokenRows(nn.Module):
    """The token embedding; only the requested rows are read from the file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def forward(self, tokens: Tensor) -> Tensor:
        """Token numbers (K, L) int64 → embeddings (K, L, width) float32."""
        with open_tensors(self.path) as file:
            rows: Tensor = file.get_tensor("token_embedding.weight")[tokens].to(torch.float32)
        return rows


def _fill(path: Path, numbers: Iterator[int], block: nn.Module, _: Any) -> None:
    """Overwrite a block's weights with those of the next block of the file."""
    prefix = f"transformer.resblocks.{next(numbers)}."
    with open_tensors(path) as file:
        block.load_state_dict({n: file.get_tensor(prefix + n) for n in block.state_dict()})
