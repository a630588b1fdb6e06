"""The layer of a heat map, by the libraries' own networks with random weights."""

import pytest
import torch
from torch import Tensor, nn

from models.backbones import Backbone, build_backbone
from models.errors import BackboneError
from models.map_layer import MapLayer, find_map_layer
from models.registry import find_backbone


def output_of(network: Backbone, layer: MapLayer, images: Tensor) -> Tensor:
    kept = []
    hook = layer.module.register_forward_hook(lambda *called: kept.append(called[2].clone()))
    with torch.no_grad():
        network(images)
    hook.remove()
    return layer.by_position(kept[0])


def found_in(name: str, size: int, trainable: str = "all") -> MapLayer:
    """Find a backbone's layer; hold that its positions are those of the image.

    Another upper right quarter of the image changes the upper right quarter of the map most,
    however many transformer blocks have mixed the positions: each has a residual connection. (Where
    the map has an odd side, its middle belongs to both halves.)
    """
    network = build_backbone(
        name, 3, pretrained=False, image_size=size, seed=0, trainable=trainable
    ).eval()
    layer = find_map_layer(network, size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, size, size, generator=generator).repeat(2, 1, 1, 1)
    quarter = size // 4
    images[1, :, :quarter, -quarter:] += torch.randn(3, quarter, quarter, generator=generator)
    one, other = output_of(network, layer, images)
    changes = (one - other).abs().sum(dim=0)
    assert changes.shape == (layer.grid, layer.grid)
    row, column = divmod(int(changes.argmax()), layer.grid)
    assert row < layer.grid / 2 < column + 1
    return layer


def test_the_last_layer_with_seven_positions_or_more_is_taken() -> None:
    """resnet18 divides the side by 32 at its end, by 16 and 8 before: 64 / 8 = 8."""
    layer = found_in("resnet18", 64)
    assert (layer.grid, layer.form) == (8, "maps")
    assert layer.name.startswith("trunk.layer2")


@pytest.mark.parametrize("trainable", ["all", pytest.param("lora", marks=pytest.mark.slow)])
def test_a_class_token_depends_on_the_others_before_the_last_attention(trainable: str) -> None:
    layer = found_in("timm:vit_tiny_patch16_224", 224, trainable)
    assert (layer.name, layer.form) == ("trunk.blocks.11.norm1", "tokens")
    assert (layer.grid, layer.prefix) == (14, 1)


def test_a_network_without_positions_has_no_layer() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU())
    with pytest.raises(BackboneError, match="none of its layers has an output for each position"):
        find_map_layer(Backbone(trunk, nn.Linear(8, 3)).eval(), 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, layer, form",
    [
        ("convnext_t", "trunk.features", "maps"),
        ("maxvit_t", "trunk.blocks.3", "maps"),
        ("swin_t", "trunk.permute", "maps"),
        ("swin_v2_t", "trunk.permute", "maps"),
        ("clip-rn50", "trunk.layer4", "maps"),
        ("clip-vit-b-32", "trunk.transformer.resblocks.10", "tokens"),
        ("timm:tf_efficientnet_lite0", "trunk.bn2", "maps"),
        ("timm:swin_tiny_patch4_window7_224", "trunk.norm", "maps, channels last"),
    ],
)
def test_every_family(name: str, layer: str, form: str) -> None:
    found = found_in(name, find_backbone(name).fixed_image_size or 224)
    assert (found.name, found.grid, found.form) == (layer, 7, form)
