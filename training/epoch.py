"""One pass over a split: the training epoch and the evaluation, for every experiment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from data_partition.batches import evaluation_batch, training_batch
from training.metrics import Confusion, confusion_matrix
from training.split import Split


class TrainingError(RuntimeError):
    """Training that cannot go on, in one line."""


@dataclass(frozen=True)
class Preprocessing:
    """What turns stored images into network input: side in pixels, channel means and deviations."""

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Evaluation:
    """What a model answers on a split of n images with K classes.

    Attributes:
        probabilities: (n, K) float32, rows sum to 1.
        confusion: (K, K) counts of true against most probable class; the first class on ties.
        loss: mean cross-entropy; 0.0 for an empty split.
    """

    probabilities: NDArray[np.float32]
    confusion: Confusion
    loss: float


def batch_slices(num_examples: int, batch_size: int) -> Iterator[slice]:
    """Cut n examples into batches; a last batch of one joins the batch before it.

    BatchNorm cannot train on a single image, and one rule for every model keeps them comparable.

    Raises:
        TrainingError: there are fewer than two examples.
    """
    if num_examples < 2:
        raise TrainingError(f"training needs at least two images, there are {num_examples}")
    start = 0
    while start < num_examples:
        stop = start + batch_size
        if num_examples - stop <= 1:
            stop = num_examples
        yield slice(start, stop)
        start = stop


def train_epoch(
    model: nn.Module,
    split: Split,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int,
    preprocessing: Preprocessing,
    generator: torch.Generator,
    precision: str = "float32",
    before_step: Callable[[], None] | None = None,
) -> float:
    """Train one epoch: every image once, in random order, randomly cropped and flipped.

    Args:
        model: maps (B, 3, image_size, image_size) float32 to logits (B, K); left in train mode.
        split: at least two images.
        optimizer: over the model's parameters.
        batch_size: B ≥ 2.
        preprocessing: of the model's input.
        generator: on the CPU; decides the order, the crops and the flips.
        precision: ``float32``, or ``bfloat16`` for autocast on CUDA.
        before_step: called between ``backward`` and the optimizer's step (FedProx's pull).

    Returns:
        The mean training loss over the images.

    Raises:
        TrainingError: fewer than two images, or the loss became NaN or infinite.
    """
    device = next(model.parameters()).device
    model.train()
    order = split.indices[torch.randperm(len(split), generator=generator).numpy()]
    total_loss = torch.zeros(
        (), dtype=torch.float64, device="cpu" if device.type == "mps" else device
    )
    for part in batch_slices(len(split), batch_size):
        stored, labels = _load_batch(split, order[part], device)
        images = training_batch(
            stored,
            image_size=preprocessing.image_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            generator=generator,
        )
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        if before_step is not None:
            before_step()
        optimizer.step()
        # Added up on the device: asking for the number here would wait for it at every step.
        total_loss += loss.detach() * len(labels)
    mean_loss = float(total_loss) / len(split)
    if not np.isfinite(mean_loss):
        raise TrainingError(f"the training loss became {mean_loss}; try a smaller learning-rate")
    return mean_loss


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Split,
    *,
    num_classes: int,
    batch_size: int,
    preprocessing: Preprocessing,
    precision: str = "float32",
) -> Evaluation:
    """Judge a model on a split of any size, in evaluation mode, without gradients.

    Args:
        model: maps (B, 3, image_size, image_size) float32 to logits (B, K); left in eval mode.
        split: the images; may be empty.
        num_classes: K.
        batch_size: images at a time.
        preprocessing: of the model's input.
        precision: as in `train_epoch`; probabilities are float32 all the same.

    Raises:
        TrainingError: an answer is NaN or infinite.
    """
    device = next(model.parameters()).device
    model.eval()
    log_probabilities = np.empty((len(split), num_classes), dtype=np.float32)
    for start in range(0, len(split), batch_size):
        part = slice(start, min(start + batch_size, len(split)))
        stored, _ = _load_batch(split, split.indices[part], device)
        images = evaluation_batch(
            stored,
            image_size=preprocessing.image_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images)
        log_probabilities[part] = functional.log_softmax(logits.float(), dim=1).cpu().numpy()
    if not np.isfinite(log_probabilities).all():
        raise TrainingError(
            "the model's answers are not finite numbers; try a smaller learning-rate"
        )
    labels = split.labels[split.indices]
    probabilities = np.exp(log_probabilities)
    of_truth = log_probabilities[np.arange(len(split)), labels].astype(np.float64)
    return Evaluation(
        probabilities=probabilities,
        # From the probabilities, not the logits, so that a reader of the predictions finds the
        # same most probable class.
        confusion=confusion_matrix(labels, probabilities.argmax(axis=1), num_classes),
        loss=float(-of_truth.mean()) if len(split) else 0.0,
    )


def _load_batch(
    split: Split, rows: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return images (B, S, S, 3) uint8 and labels (B,) of some rows of the store, on a device.

    For CUDA they go through pinned memory and are copied asynchronously, so that reading the next
    batch overlaps with computing on this one.
    """
    images = torch.from_numpy(split.images[rows])
    labels = torch.from_numpy(split.labels[rows])
    if device.type == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
