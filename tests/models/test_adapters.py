"""What is trained over a frozen trunk: the gated adapter, LoRA, and the part that is sent."""

import pytest
import torch
from torch import nn

from models.backbones import (
    REDUCTION,
    Backbone,
    GatedAdapter,
    build_backbone,
    build_empty,
    build_on_meta,
    over_features,
)
from models.lora import add_lora, merge_lora
from models.registry import BACKBONES, SMALLEST_IMAGE, find_backbone
from models.text_encoders import TEXT_ENCODERS
from tests.models.test_part_sizes import part_sizes
from tests.support import LARGER_SIZES

WITH_LORA = [spec.name for spec in BACKBONES.values() if spec.has_linear_layers]
# Real numbers go through one that calls its layers and one that only reads their weights.
QUICK = {"convnext_t", "swin_t"}


def smallest_size(name: str) -> int:
    return find_backbone(name).fixed_image_size or SMALLEST_IMAGE


def fresh(name: str, trainable: str) -> Backbone:
    return build_backbone(
        name, 7, pretrained=False, image_size=smallest_size(name), seed=0, trainable=trainable
    )


def images(name: str) -> torch.Tensor:
    size = smallest_size(name)
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("width", sorted({spec.width for spec in BACKBONES.values()}))
def test_the_adapter_begins_as_the_identity(width: int) -> None:
    """The softmax of zeros is 1/width, and width times that is 1 up to rounding."""
    features = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(GatedAdapter(width)(features), features)


def test_the_gate_is_a_scaled_softmax() -> None:
    """Gate inputs (log 3, 0, …, 0) over 32 features: 3/34 and 1/34 of the sum, times 32."""
    adapter = GatedAdapter(2 * REDUCTION)
    with torch.no_grad():
        adapter.gate.bias[0] = torch.log(torch.tensor(3.0))
        gates = adapter(torch.ones(1, 32))[0]
    assert gates[0].item() == pytest.approx(32 * 3 / 34)
    assert gates[1:].tolist() == pytest.approx([32 / 34] * 31)


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_sent_and_what_is_not(name: str) -> None:
    """On the meta device: together they are the state dict; of the trunk LoRA sends its own."""
    spec = find_backbone(name)
    head = ["head.weight", "head.bias"]
    adapter = ["adapter.squeeze.weight", "adapter.squeeze.bias"]
    adapter += ["adapter.gate.weight", "adapter.gate.bias"]
    whole = build_on_meta(name, 7)
    assert list(whole.sent_part()) == list(whole.state_dict())
    assert whole.base() == {}
    for trainable, expected in (("head", head), ("adapter", [*adapter, *head])):
        network = build_on_meta(name, 7, trainable=trainable)
        assert list(network.sent_part()) == expected
        base = [key for key in whole.state_dict() if key.startswith("trunk.")]
        assert list(network.base()) == base
        assert list(over_features(name, 7, trainable=trainable).state_dict()) == expected
    assert network.adapter.squeeze.weight.shape == (spec.width // 16, spec.width)
    linear = [m for m in whole.trunk.modules() if isinstance(m, nn.Linear | nn.MultiheadAttention)]
    assert bool(linear) == spec.has_linear_layers


@pytest.mark.parametrize("name", WITH_LORA)
def test_lora_updates_attention_and_linear_layers_alone(name: str) -> None:
    """On the meta device. A layer of n numbers in and m out gets 8 (n + m); PEFT's names."""
    network, whole = build_on_meta(name, 7, trainable="lora"), build_on_meta(name, 7)
    sent = {key: t for key, t in network.sent_part().items() if not key.startswith("head.")}
    assert all(".lora_A." in key or ".lora_B." in key for key in sent)
    expected = 0
    for key, module in whole.trunk.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            expected += 8 * (module.embed_dim + 3 * module.embed_dim)
        elif isinstance(module, nn.Linear) and "cpb_mlp" not in key:
            expected += 8 * (module.in_features + module.out_features)
    assert sum(t.numel() for t in sent.values()) == expected
    frozen = {key.replace(".base_layer.", "."): t.shape for key, t in network.base().items()}
    assert frozen == {k: t.shape for k, t in whole.trunk.state_dict(prefix="trunk.").items()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in QUICK else pytest.mark.slow)
        for n in WITH_LORA
        if n not in LARGER_SIZES
    ],
)
def test_every_lora_layer_learns_and_the_base_stays(name: str) -> None:
    """Nothing changes at first; then each product has a gradient, also where Swin only reads.

    After steps, and passes with and without gradients, no bit of the base has moved.
    """
    network = fresh(name, "lora").train()
    plain = fresh(name, "all").eval()
    with torch.no_grad():
        assert torch.equal(network(images(name)), plain(images(name)))
    if name == "clip-rn50":  # its residual branches start scaled by zero
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
    before = {key: tensor.clone() for key, tensor in network.base().items()}
    with torch.no_grad():
        for key, parameter in network.trained().items():
            if ".lora_B." in key:  # zero at first, and with it A's gradient
                parameter.normal_(0, 0.02, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.SGD(network.trained().values(), lr=1e-3)
    weights = torch.randn(2, 7, generator=torch.Generator().manual_seed(2))
    (network(images(name)) * weights).sum().backward()
    for key, parameter in network.trained().items():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key
    optimizer.step()
    with torch.no_grad():
        network.eval()(images(name))
    after = network.base()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


@pytest.mark.parametrize("trainable", ["head", "adapter"])
def test_a_frozen_trunk_keeps_its_statistics(trainable: str) -> None:
    """resnet18's BatchNorm counts no batch, whatever train() says; all trained, it counts one."""
    network = fresh("resnet18", trainable).train()
    before = {key: tensor.clone() for key, tensor in network.base().items()}
    network(images("resnet18")).sum().backward()
    assert not network.trunk.training
    assert all(torch.equal(network.base()[key], tensor) for key, tensor in before.items())
    assert all(parameter.grad is not None for parameter in network.trained().values())
    assert all(p.grad is None for p in network.trunk.parameters())


@pytest.mark.parametrize("trainable", ["head", "adapter", "lora"])
def test_trunk_and_head_begin_as_if_all_were_trained(trainable: str) -> None:
    name = "convnext_t" if trainable == "lora" else "resnet18"
    whole, part = fresh(name, "all").state_dict(), fresh(name, trainable).state_dict()
    named = {key.replace(".base_layer.", "."): tensor for key, tensor in part.items()}
    assert all(torch.equal(named[key], tensor) for key, tensor in whole.items())


def test_a_whole_network_with_lora_is_filled_from_its_state() -> None:
    network = fresh("convnext_t", "lora").eval()
    empty = build_empty("convnext_t", 7, image_size=32, trainable="lora")
    empty.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(empty.eval()(images("convnext_t")), network(images("convnext_t")))


class Block(nn.Module):
    """A linear layer and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Linear(6, 8), nn.MultiheadAttention(8, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        queries = self.first(features)
        attended: torch.Tensor = self.attention(queries, queries, queries)[0]
        return attended


def test_updates_can_be_added_to_the_weights_for_good() -> None:
    """Plain layers remain, whose outputs stay up to rounding."""
    torch.manual_seed(0)
    trunk, features = Block(), torch.randn(5, 6)
    names, before = set(trunk.state_dict()), trunk(features)
    add_lora(trunk)
    for key, parameter in trunk.named_parameters():
        if ".lora_B." in key:
            nn.init.normal_(parameter, std=0.1)
    updated = trunk(features)
    assert not torch.allclose(updated, before, atol=0.01)
    merge_lora(trunk)
    assert set(trunk.state_dict()) == names
    torch.testing.assert_close(trunk(features), updated)


@pytest.mark.parametrize("name", ["vit_l_16", "convnext_l"])
@pytest.mark.parametrize("outputs", [7, *sorted({e.width for e in TEXT_ENCODERS.values()})])
def test_an_adapter_is_at_most_a_hundredth_of_the_largest_networks(name: str, outputs: int) -> None:
    """As a classifier, and with the projection to any text encoder."""
    sizes = part_sizes(name, outputs)
    assert sizes["adapter"].num_bytes <= 0.01 * sizes["all"].num_bytes
