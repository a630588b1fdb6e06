"""The size of a network, of its trained and sent part, and of its activations, counted."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

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


def kept_for_backward(name: str, image_size: int) -> int:
    """Return the bytes that autograd keeps of one image, in float32, beside the weights.

    Nothing is computed, as above. In evaluation mode, in which every backbone has been tried
    (`models.backbones.check_images`); training keeps the same, to a few bytes.

    Raises:
        BackboneError: unknown name.
    """
    network = build_on_meta(name, num_classes=2).eval()
    state = {StorageWeakRef(tensor.untyped_storage()) for tensor in _tensors(network)}
    kept: dict[StorageWeakRef, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if (place := StorageWeakRef(storage)) not in state:
            kept[place] = storage
        return tensor

    images = torch.empty(2, 3, image_size, image_size, device="meta")
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    return sum(storage.nbytes() for storage in kept.values()) // len(images)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
