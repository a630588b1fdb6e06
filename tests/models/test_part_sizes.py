"""The sizes of the backbones, in the tables and as counted."""

import pytest

from models.activation_sizes import ACTIVATION_BYTES, SIDE, activation_bytes
from models.part_sizes import NUM_CLASSES, PART_SIZES, PartSize
from models.registry import BACKBONES
from models.sizes import kept_for_backward, part_size

# Quick to build: a classifier of each kind, and one without layers for LoRA.
QUICK = ("resnet18", "swin_t")


def part_sizes(name: str, num_classes: int) -> dict[str, PartSize]:
    """Count by value of ``trainable``, without ``lora`` if it is not possible."""
    values = ["all", "head", "adapter"]
    if BACKBONES[name].has_linear_layers:
        values.append("lora")
    return {trainable: part_size(name, num_classes, trainable) for trainable in values}


def check(name: str) -> None:
    assert PART_SIZES[name] == part_sizes(name, NUM_CLASSES)
    side = BACKBONES[name].fixed_image_size or SIDE
    assert ACTIVATION_BYTES[name] == kept_for_backward(name, side)


@pytest.mark.parametrize("name", QUICK)
def test_the_tables_say_what_is_counted(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BACKBONES.keys() - set(QUICK)))
def test_the_tables_say_what_is_counted_of_every_backbone(name: str) -> None:
    check(name)


def test_the_tables_have_the_backbones_of_the_registry() -> None:
    assert ACTIVATION_BYTES.keys() == PART_SIZES.keys() == BACKBONES.keys()
    for name, sizes in PART_SIZES.items():
        assert ("lora" in sizes) == BACKBONES[name].has_linear_layers
        assert abs(sizes["all"].num_bytes / 1e6 - BACKBONES[name].megabytes) < 1


def test_activations_grow_with_the_image() -> None:
    """As far as an image of 64 pixels does not need more of it as padding."""
    assert activation_bytes("convnext_t", 64) == pytest.approx(
        kept_for_backward("convnext_t", 64), rel=0.01
    )
    assert activation_bytes("convnext_t", SIDE) == ACTIVATION_BYTES["convnext_t"]


def test_activations_of_a_librarys_backbone_are_counted() -> None:
    """It is the same network."""
    assert activation_bytes("timm:resnet18", SIDE) == ACTIVATION_BYTES["resnet18"]
