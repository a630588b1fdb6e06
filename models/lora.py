"""Low-rank updates of a trunk's attention and linear layers, by PEFT.

Imported only when it is used: PEFT takes seconds to import.
"""

from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import layer as lora
from torch import Tensor, nn
from torch.func import functional_call

RANK, ALPHA = 8, 16
_NAME = "default"  # PEFT's default name of an update

# Swin v2 computes its position bias from coordinates: these layers see no features.
_OF_COORDINATES = "cpb_mlp"


class _Linear(lora.Linear):
    """PEFT's layer, which also works if its weights are read without calling it, as Swin does."""

    @property
    def weight(self) -> Tensor:
        """The frozen weights plus their update."""
        layer: Any = self.get_base_layer()
        updated: Tensor = layer.weight + self.get_delta_weight(_NAME)
        return updated


class _Attention(lora.MultiheadAttention):
    """PEFT's layer with another `forward`.

    PEFT's adds the update to the frozen weights and subtracts it again, which leaves a rounding
    error that grows with every batch.
    """

    def forward(self, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Like ``nn.MultiheadAttention``."""
        attention: Any = self.get_base_layer()
        inner, outer = attention.in_proj_weight, attention.out_proj.base_layer.weight
        updated = {
            "in_proj_weight": inner + self.get_delta_weight(_NAME),
            "out_proj.base_layer.weight": outer + attention.out_proj.get_delta_weight(_NAME),
        }
        return functional_call(attention, updated, (query, *args), kwargs)


def add_lora(trunk: nn.Module) -> None:
    """Freeze a trunk and add trained updates of rank 8 to its linear and attention layers.

    Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2022: W + (α/r) B A with α = 16,
    A drawn from torch's global generator and B zero, so that the trunk's output is unchanged at
    first. There is no dropout, and convolutions are not updated.

    Args:
        trunk: on the CPU, or on the meta device; changed in place.

    Raises:
        ValueError: it has no such layer.
    """
    attention = [name for name, m in trunk.named_modules() if isinstance(m, nn.MultiheadAttention)]
    linear = [
        name
        for name, module in trunk.named_modules()
        if isinstance(module, nn.Linear)
        and _OF_COORDINATES not in name
        # Layers inside an attention layer are updated with it.
        and name.rpartition(".")[0] not in attention
    ]
    if not attention and not linear:
        raise ValueError("the trunk has no attention and no linear layer")
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=[*attention, *linear])
    # PEFT's (unstable) interface for custom layers.
    config._register_custom_module({nn.MultiheadAttention: _Attention, nn.Linear: _Linear})
    inject_adapter_in_model(config, trunk)


def merge_lora(trunk: nn.Module) -> None:
    """Add the updates to the weights that they change, in place; plain layers remain.

    Args:
        trunk: of `add_lora`. Its outputs stay, up to rounding.
    """
    for name, module in list(trunk.named_modules()):
        if isinstance(module, _Attention):
            attention: Any = module.get_base_layer()
            attention.in_proj_weight.data += module.get_delta_weight(_NAME).detach()
            trunk.set_submodule(name, attention)
    for name, module in list(trunk.named_modules()):
        if isinstance(module, lora.Linear):
            layer: Any = module.get_base_layer()
            layer.weight.data += module.get_delta_weight(_NAME).detach()
            trunk.set_submodule(name, layer)
