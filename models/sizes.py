"""The size of a network and of its trained and sent part, counted."""

from models.backbones import build_on_meta
from models.part_sizes import PartSize


def part_size(name: str, num_classes: int, trainable: str) -> PartSize:
    """Return the size of the sent part of a backbone; with ``all`` it is the whole network.

    Nothing is computed and no weights are needed.

    Raises:
        BackboneError: unknown name.
    """
    network = build_on_meta(name, num_classes, trainable=trainable)
    return PartSize(
        sum(parameter.numel() for parameter in network.trained().values()),
        sum(t.numel() * t.element_size() for t in network.sent_part().values()),
    )
