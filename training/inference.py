"""A network's output for stored images, without gradients: probabilities or features."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from data_partition.batches import evaluation_batch, training_batch
from models.backbones import Backbone
from training.augmentation import augmented
from training.errors import TrainingError
from training.stored_batches import stored_batches


class Inputs(Protocol):
    """Turns a stored batch into the network's input, on the batch's device."""

    def for_training(self, stored: Tensor, generator: torch.Generator) -> Tensor:
        """Return the input for training, augmented; ``generator`` is on the CPU."""

    def for_evaluation(self, stored: Tensor) -> Tensor:
        """Return the input for evaluation."""


@dataclass(frozen=True)
class Preprocessing(Inputs):
    """Inputs from stored images (B, S, S, 3) uint8: pixels, channel means and deviations.

    Attributes:
        cropped: evaluate the square of image_size in the middle instead of the whole stored image.
        augmentation: a name in `training.augmentation.AUGMENTATIONS`.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    cropped: bool = field(default=False, kw_only=True)
    augmentation: str = field(default="study", kw_only=True)

    def for_training(self, stored: Tensor, generator: torch.Generator) -> Tensor:
        """Augment, then crop and flip at random, by `data_partition.batches.training_batch`."""
        stored = augmented(stored, self.augmentation, generator)
        return training_batch(
            stored, image_size=self.image_size, mean=self.mean, std=self.std, generator=generator
        )

    def for_evaluation(self, stored: Tensor) -> Tensor:
        """Crop or resize the whole image, by `data_partition.batches.evaluation_batch`."""
        if self.cropped:
            margin = (stored.shape[1] - self.image_size) // 2
            middle = slice(margin, margin + self.image_size)
            stored = stored[:, middle, middle]
        return evaluation_batch(stored, image_size=self.image_size, mean=self.mean, std=self.std)


def predict(
    model: nn.Module,
    images: NDArray,
    indices: NDArray[np.int64],
    *,
    num_classes: int,
    batch_size: int,
    preprocessing: Inputs,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Return the logarithms (n, K) of a model's probabilities, in evaluation mode.

    Args:
        model: maps (B, 3, image_size, image_size) float32 to logits (B, K); left in eval mode.
        images: (N, S, S, 3) uint8, from an image store, or other input of ``preprocessing``.
        precision: ``float32``, or ``bfloat16`` for autocast on CUDA.

    Raises:
        TrainingError: an output is NaN or infinite.
    """

    def log_probabilities(batch: Tensor) -> Tensor:
        return functional.log_softmax(model(batch).float(), dim=1)

    return _answers(
        model, log_probabilities, num_classes, images, indices, batch_size, preprocessing, precision
    )


def extract_features(
    network: Backbone,
    images: NDArray,
    indices: NDArray[np.int64],
    *,
    width: int,
    batch_size: int,
    preprocessing: Inputs,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Return the trunk's features of images (n, width), in evaluation mode.

    Arguments as for `predict`; ``width`` is the registry's for the backbone.

    Raises:
        TrainingError: a feature is NaN or infinite.
    """
    return _answers(
        network,
        lambda batch: network.features(batch).float(),
        width,
        images,
        indices,
        batch_size,
        preprocessing,
        precision,
    )


@torch.inference_mode()
def _answers(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    width: int,
    images: NDArray,
    indices: NDArray[np.int64],
    batch_size: int,
    preprocessing: Inputs,
    precision: str,
) -> NDArray[np.float32]:
    device = next(model.parameters()).device
    model.eval()
    starts = range(0, len(indices), batch_size)
    rows = [indices[start : start + batch_size] for start in starts]
    # On the device until the end: to copy each batch's answers would be to wait for them.
    found = torch.empty((len(indices), width), device=device)
    for start, stored in zip(starts, stored_batches(images, rows, device), strict=True):
        batch = preprocessing.for_evaluation(stored)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            found[start : start + len(batch)] = forward(batch)
    answers: NDArray[np.float32] = found.cpu().numpy()
    if not np.isfinite(answers).all():
        raise TrainingError(
            "the model's outputs are not finite numbers: its training has diverged, or its weights "
            "were spoiled"
        )
    return answers
