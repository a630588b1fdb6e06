"""One pass over a split: the training epoch and the evaluation, for every experiment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.errors import TrainingError
from training.inference import Inputs, predict
from training.score_counts import Answers
from training.split import Split
from training.stored_batches import stored_batches, to_device


@dataclass(frozen=True)
class Evaluation:
    """A model's results on a split of n images with K classes."""

    images: Answers  # its answers; the probabilities are float32
    loss: float  # mean cross-entropy; 0.0 for an empty split
    # Of each patient the mean probabilities of the patient's slices; None if the split has no
    # patients.
    patients: Answers | None = None


def batch_slices(num_examples: int, batch_size: int) -> Iterator[slice]:
    """Split n examples into batches; a last batch of one is joined to the batch before it.

    BatchNorm cannot train on a single image; the rule is the same for all models.

    Raises:
        TrainingError: there are fewer than two examples.
    """
    if num_examples < 2:
        raise TrainingError(f"training needs at least two images, but there are {num_examples}")
    start = 0
    while start < num_examples:
        stop = start + batch_size
        if num_examples - stop <= 1:
            stop = num_examples
        yield slice(start, stop)
        start = stop


def step_batches(
    num_examples: int, batch_size: int, accumulate_batches: int = 1
) -> Iterator[list[slice]]:
    """Yield the batches of `batch_slices` whose gradients make one step of the optimizer.

    They are as many as ``accumulate_batches``; in the last step of an epoch, those that are left.
    So the images of each step are those of one batch of `batch_slices` with a size of
    ``batch_size * accumulate_batches``.

    Raises:
        TrainingError: there are fewer than two examples.
    """
    batches = list(batch_slices(num_examples, batch_size))
    for first in range(0, len(batches), accumulate_batches):
        yield batches[first : first + accumulate_batches]


def train_epoch(
    model: nn.Module,
    split: Split,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int,
    preprocessing: Inputs,
    generator: torch.Generator,
    precision: str = "float32",
    loss_function: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    sampler: str = "shuffled",
    before_step: Callable[[], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    accumulate_batches: int = 1,
    class_weights: NDArray[np.float64] | None = None,
) -> float:
    """Train one epoch: as many images as there are, augmented by ``preprocessing``.

    With ``accumulate_batches`` a step follows the gradient of the loss of all of its images, though
    only a batch of them is in memory at a time. Let an image i of class c have the weight
    w_i = ``class_weights[c]``, or 1. The loss of all images is L = Σ_i w_i l_i / W, W = Σ_i w_i,
    that of batch b is L_b = Σ_{i in b} w_i l_i / W_b. Hence L = Σ_b (W_b / W) L_b, whatever the
    sizes and the classes of the batches: each batch's loss is multiplied by its share W_b / W of
    the step, and its gradient added to those before. That is not so for a loss that compares the
    images of a batch (`training.losses.Loss.whole_batch`), nor where BatchNorm normalises: it still
    sees one batch after the other.

    Args:
        model: maps (B, 3, image_size, image_size) float32 to logits (B, K); left in train mode.
        split: at least two images.
        optimizer: of the model's trained parameters.
        batch_size: B ≥ 2.
        preprocessing: of the model's input.
        generator: on the CPU; for the order and the augmentation.
        precision: ``float32``, or ``bfloat16`` for autocast on CUDA.
        loss_function: maps logits (B, K) and labels (B,) to the mean loss of the batch.
        sampler: ``shuffled``, every image once in random order; or ``balanced``, drawn with
            replacement, each class as often as any other on average.
        before_step: called between ``backward`` and the optimizer's step, by a method.
        penalty: called after the forward pass of every batch; its value is added to the batch's
            loss. Of a step's batches it is averaged by their shares.
        accumulate_batches: ≥ 1, the number of batches of a step.
        class_weights: (K,), the weights by which ``loss_function`` averages; None: evenly.

    Returns:
        The mean training loss over the images, with the penalty.

    Raises:
        TrainingError: fewer than two images, or the loss became NaN or infinite.
    """
    device = next(model.parameters()).device
    model.train()
    order = split.indices[_order(split, sampler, generator).numpy()]
    total_loss = torch.zeros(
        (), dtype=torch.float64, device="cpu" if device.type == "mps" else device
    )
    first_loss = total_loss
    steps = list(step_batches(len(split), batch_size, accumulate_batches))
    rows = [order[part] for parts in steps for part in parts]
    stored = stored_batches(split.images, rows, device)
    labels = to_device(split.labels[order], device)
    for parts in steps:
        num_images = parts[-1].stop - parts[0].start
        shares = _shares([split.labels[order[part]] for part in parts], class_weights)
        optimizer.zero_grad(set_to_none=True)
        for part, share in zip(parts, shares, strict=True):
            images = preprocessing.for_training(next(stored), generator)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss = loss_function(model(images), labels[part])
                if penalty is not None:
                    loss = loss + penalty()
            if part.start == 0:
                first_loss = loss.detach()
            loss = loss * share  # the only batch of a step has the share 1, which changes no bit
            loss.backward()
            # Summed on the device: reading the number here would synchronise at every step.
            total_loss += loss.detach() * num_images
        if before_step is not None:
            before_step()
        optimizer.step()
    mean_loss = float(total_loss) / len(split)
    if not np.isfinite(mean_loss):
        raise TrainingError(_why_not_finite(mean_loss, float(first_loss)))
    return mean_loss


def _shares(
    labels: list[NDArray[np.int64]], class_weights: NDArray[np.float64] | None
) -> list[float]:
    """Return the share of each batch in the weight of all images of a step."""
    if len(labels) == 1:
        return [1.0]
    of_batches = [
        len(batch) if class_weights is None else class_weights[batch].sum() for batch in labels
    ]
    return [float(weight / sum(of_batches)) for weight in of_batches]


def _order(split: Split, sampler: str, generator: torch.Generator) -> Tensor:
    """Return the places (n,) of the images of an epoch among the n of the split."""
    if sampler == "shuffled":
        return torch.randperm(len(split), generator=generator)
    labels = torch.from_numpy(split.own_labels)
    weights = 1 / torch.bincount(labels)[labels].double()
    return torch.multinomial(weights, len(split), replacement=True, generator=generator)


def _why_not_finite(mean_loss: float, first_loss: float) -> str:
    """Return an error that names the cause: bad initial weights or a too large learning-rate."""
    if not np.isfinite(first_loss):
        return (
            f"the training loss was {first_loss} before the first step: the weights that training "
            "began with are the cause, not its learning-rate"
        )
    return (
        f"the training loss became {mean_loss}, after {first_loss:.3g} in the first batch; try a "
        "smaller learning-rate"
    )


def evaluate(
    model: nn.Module,
    split: Split,
    *,
    num_classes: int,
    batch_size: int,
    preprocessing: Inputs,
    precision: str = "float32",
) -> Evaluation:
    """Evaluate a model on a split of any size, in evaluation mode, without gradients.

    Args:
        model: maps (B, 3, image_size, image_size) float32 to logits (B, K); left in eval mode.

    Raises:
        TrainingError: an output is NaN or infinite.
    """
    log_probabilities = predict(
        model,
        split.images,
        split.indices,
        num_classes=num_classes,
        batch_size=batch_size,
        preprocessing=preprocessing,
        precision=precision,
    )
    labels = split.own_labels
    probabilities = np.exp(log_probabilities)
    of_truth = log_probabilities[np.arange(len(split)), labels].astype(np.float64)
    # Probabilities, not logits, so that the stored predictions have the same most probable class.
    images = Answers(probabilities, labels)
    patients = split.own_patients
    return Evaluation(
        images=images,
        loss=float(-of_truth.mean()) if len(split) else 0.0,
        patients=None if patients is None else images.by_patient(patients),
    )
