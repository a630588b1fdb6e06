"""Networks on the meta device have names and shapes, and nothing is drawn for them."""

import pytest
import torch
from torch import nn

from models.empty_device import building_on, in_memory


def network() -> nn.Module:
    """Every way in which layers, torchvision and timm fill tensors."""
    layers = nn.Sequential(
        nn.Linear(3, 4), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Embedding(2, 2)
    )
    nn.init.normal_(layers[0].weight, std=0.1)
    nn.init.trunc_normal_(layers[1].weight)
    with torch.no_grad():
        layers[3].weight.uniform_(-1, 1).erfinv_().mul_(0.1).add_(1).clamp_(min=-1, max=1)
    nn.init.zeros_(layers[0].bias)
    layers.register_parameter("scale", nn.Parameter(torch.ones(3) * 0.1))
    return layers


def test_a_network_on_meta_has_the_same_names_and_shapes() -> None:
    with building_on("meta"):
        empty = network()
    drawn = network()
    assert {tensor.device.type for tensor in empty.state_dict().values()} == {"meta"}
    assert {name: tensor.shape for name, tensor in empty.state_dict().items()} == {
        name: tensor.shape for name, tensor in drawn.state_dict().items()
    }


def test_memory_has_the_same_layout() -> None:
    with building_on("meta"):
        empty = network().to(memory_format=torch.channels_last)
    expected = {name: (t.shape, t.stride(), t.dtype) for name, t in empty.state_dict().items()}
    empty.scale.requires_grad_(False)
    filled = in_memory(empty)
    assert filled is empty
    assert {t.device.type for t in filled.state_dict().values()} == {"cpu"}
    assert expected == {n: (t.shape, t.stride(), t.dtype) for n, t in filled.state_dict().items()}
    assert [name for name, p in filled.named_parameters() if not p.requires_grad] == ["scale"]


@pytest.mark.parametrize(("device", "drawn"), [("cpu", True), ("meta", False)])
def test_only_on_meta_nothing_is_drawn(device: str, drawn: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        with building_on(device):
            network()
        assert torch.equal(torch.get_rng_state(), before) != drawn


def test_on_the_cpu_it_is_the_network_that_torch_draws() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = network().state_dict()
        torch.manual_seed(0)
        with building_on("cpu"):
            found = network().state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
