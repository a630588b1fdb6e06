"""The losses by name, with what each needs. torch is imported when one is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from operation.extension_point import ExtensionPoint
from training.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from training.split import Split


class LossFunction(Protocol):
    """Maps logits (B, K) and labels (B,) to the mean loss of a batch."""

    def __call__(self, logits: Tensor, labels: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Loss:
    """A row of the table.

    Attributes:
        build: returns the function, from the number of training images of each class, (K,) int64.
        objectives: with which it can be used.
    """

    build: Callable[[NDArray[np.int64]], LossFunction]
    objectives: tuple[str, ...] = ("classifier", "clip")


def loss_function(name: str, split: Split, num_classes: int) -> LossFunction:
    """Return the loss of this name for training on a split.

    Under objective clip the logits are similarities/τ, whose softmax is Equation 1 of the study
    (docs/study.md).
    """
    import numpy as np

    counts = np.bincount(split.labels[split.indices], minlength=num_classes)
    found = LOSSES[name].build(counts)
    return found if name in OWN else _checked(name, found)


def _checked(name: str, found: LossFunction) -> LossFunction:
    """Return a package's loss, which raises TrainingError if its value is not one number."""
    from torch import Tensor

    def checked(logits: Tensor, labels: Tensor) -> Tensor:
        loss = found(logits, labels)
        if not isinstance(loss, Tensor) or loss.shape:
            given = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{type(loss)}"
            raise TrainingError(
                f"loss = {name!r}: returns {given}, not a tensor of one number, the batch's mean"
            )
        return loss

    return checked


def _cross_entropy(_: NDArray[np.int64]) -> LossFunction:
    from torch.nn import functional

    return functional.cross_entropy


def _balanced(counts: NDArray[np.int64]) -> LossFunction:
    """Cross-entropy with each image weighted by n / (K n_c), as scikit-learn's ``balanced``.

    K is the number of classes with training images, n_c that of images of class c. A batch's loss
    is divided by the sum of its images' weights.
    """
    import numpy as np
    import torch
    from torch.nn import functional

    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = counts.sum() / (present.sum() * counts[present])
    of_class = torch.tensor(weights, dtype=torch.float32)

    def balanced(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, of_class.to(logits.device, logits.dtype))

    return balanced


def _contrastive(_: NDArray[np.int64]) -> LossFunction:
    from models.clip import contrastive_loss

    return contrastive_loss


def _fault(_: str, found: object) -> str:
    if not isinstance(found, Loss):
        return f"is of type {type(found).__name__}, not Loss"
    return "" if callable(found.build) else "has a build that is not a function"


OWN: Mapping[str, Loss] = MappingProxyType(
    {
        "cross-entropy": Loss(_cross_entropy),
        "balanced": Loss(_balanced),
        "contrastive": Loss(_contrastive, objectives=("clip",)),
    }
)
LOSSES: ExtensionPoint[Loss] = ExtensionPoint("losses", OWN, OWN.__getitem__, _fault)
# What ``auto`` means, by objective: the study's.
STUDY_LOSSES = {"classifier": "cross-entropy", "clip": "contrastive"}
