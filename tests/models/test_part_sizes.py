"""The sizes of the backbones, in the table and as counted."""

import pytest

from models.part_sizes import NUM_CLASSES, PART_SIZES, PartSize
from models.registry import BACKBONES
from models.sizes import part_size

# Quick to build: a classifier of each kind, and one without layers for LoRA.
QUICK = ("resnet18", "swin_t")


def part_sizes(name: str, num_classes: int) -> dict[str, PartSize]:
    """Count by value of ``trainable``, without ``lora`` if it is not possible."""
    values = ["all", "head", "adapter"]
    if BACKBONES[name].has_linear_layers:
        values.append("lora")
    return {trainable: part_size(name, num_classes, trainable) for trainable in values}


@pytest.mark.parametrize("name", QUICK)
def test_the_table_says_what_is_counted(name: str) -> None:
    assert PART_SIZES[name] == part_sizes(name, NUM_CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BACKBONES.keys() - set(QUICK)))
def test_the_table_says_what_is_counted_of_every_backbone(name: str) -> None:
    assert PART_SIZES[name] == part_sizes(name, NUM_CLASSES)


def test_the_table_has_the_backbones_of_the_registry() -> None:
    assert PART_SIZES.keys() == BACKBONES.keys()
    for name, sizes in PART_SIZES.items():
        assert ("lora" in sizes) == BACKBONES[name].has_linear_layers
        assert abs(sizes["all"].num_bytes / 1e6 - BACKBONES[name].megabytes) < 1
