"""How large the networks are, and the parts of them that are trained and sent."""

from dataclasses import dataclass

from models.backbones import outline
from models.registry import find


@dataclass(frozen=True)
class PartSize:
    """Of a part of a network.

    Attributes:
        parameters: numbers in it that are trained.
        num_bytes: of all that is sent of it, as it is stored.
    """

    parameters: int
    num_bytes: int


def part_sizes(name: str, num_classes: int) -> dict[str, PartSize]:
    """Return the size of the sent part by the value of ``trainable``; ``all`` is the network.

    Nothing is computed and no weights are needed. ``lora`` is missing where it has no layers.

    Args:
        name: a backbone.
        num_classes: number of outputs.

    Raises:
        BackboneError: unknown name.
    """
    found = {}
    for trainable in ("all", "head", "adapter", "lora"):
        if trainable == "lora" and not find(name).has_linear_layers:
            continue
        network = outline(name, num_classes, trainable=trainable)
        found[trainable] = PartSize(
            sum(parameter.numel() for parameter in network.trained().values()),
            sum(t.numel() * t.element_size() for t in network.sent_part().values()),
        )
    return found
