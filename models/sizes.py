"""Counts the sizes of networks and of their trained and sent parts."""

from models.backbones import build_on_meta
from models.part_sizes import PartSize
from models.registry import find_backbone


def part_size(name: str, num_classes: int, trainable: str) -> PartSize:
    """Return the size of the sent part of a backbone; with ``all`` it is the whole network.

    Nothing is computed and no weights are needed.

    Args:
        name: a backbone.
        num_classes: number of outputs.
        trainable: as in a config.

    Raises:
        BackboneError: unknown name.
    """
    network = build_on_meta(name, num_classes, trainable=trainable)
    return PartSize(
        sum(parameter.numel() for parameter in network.trained().values()),
        sum(t.numel() * t.element_size() for t in network.sent_part().values()),
    )


def part_sizes(name: str, num_classes: int) -> dict[str, PartSize]:
    """Return `part_size` by value of ``trainable``, without ``lora`` if it is not possible."""
    values = ["all", "head", "adapter"]
    if find_backbone(name).has_linear_layers:
        values.append("lora")
    return {trainable: part_size(name, num_classes, trainable) for trainable in values}
