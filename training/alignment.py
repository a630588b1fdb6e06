"""Alignment of features: a term of the loss between a client's images and reference images.

Two domains are near if their features are distributed alike. The reference is public or synthetic
and every client has it, so that no feature of a patient travels.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.backbones import Backbone
from training.inference import Inputs
from training.split import Split
from training.stored_batches import to_device


def mmd(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples, biased, with an RBF kernel.

    Gretton et al., A Kernel Two-Sample Test, JMLR 2012, equation 5 squared: the mean of k over all
    pairs (i, j) of the first sample, i = j included, plus that of the second, minus twice that over
    the pairs of one from each. k(x, y) = exp(−‖x − y‖²/(2σ²)), σ the median distance between points
    of both samples together (section 8), the lower of two; it is no function of the weights.

    Args:
        ours: (m, d) float32.
        theirs: (n, d) float32.

    Returns:
        A scalar, ≥ 0 up to rounding, < 2.
    """
    points = torch.cat([ours, theirs])
    points = points - points.detach().mean(dim=0)  # distances stay, and rounding errors shrink
    norms = (points * points).sum(dim=1)
    squares = (norms[:, None] + norms[None] - 2 * points @ points.T).clamp(min=0)
    m, num = len(ours), len(points)
    pairs = torch.triu_indices(num, num, 1, device=points.device)
    median = squares.detach()[pairs[0], pairs[1]].median().clamp(min=torch.finfo().tiny)
    kernel = torch.exp(-squares / (2 * median))
    return kernel[:m, :m].mean() + kernel[m:, m:].mean() - 2 * kernel[:m, m:].mean()


def coral(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the distance of two samples' covariances, ‖C_S − C_T‖²_F / (4 d²).

    Sun and Saenko, Deep CORAL, 2016, equations 1 to 3.

    Args:
        ours: (m, d) float32, m ≥ 2.
        theirs: (n, d) float32, n ≥ 2.

    Returns:
        A scalar ≥ 0.
    """
    width = ours.shape[1]
    difference = _covariance(ours) - _covariance(theirs)
    return (difference * difference).sum() / (4 * width * width)


def _covariance(sample: Tensor) -> Tensor:
    """Equation 2: (DᵀD − (1ᵀD)ᵀ(1ᵀD)/n)/(n − 1), here with the mean taken away first."""
    centred = sample - sample.mean(dim=0)
    return centred.T @ centred / (len(sample) - 1)


ALIGNMENTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"mmd": mmd, "coral": coral}


@contextmanager
def aligned(
    network: Backbone,
    reference: Split,
    *,
    kind: str,
    weight: float,
    batch_size: int,
    inputs: Inputs,
    generator: torch.Generator,
) -> Iterator[Callable[[], Tensor]]:
    """Give a function that returns a step's term: weight · distance, for `train_epoch`.

    It is called after the forward pass of a batch of the client's images, whose features are the
    head's input. It draws as many reference images as a batch has, augmented alike, and runs the
    network on them; gradients go through both (Deep CORAL, section 3.2, shared weights). BatchNorm
    normalises them with their own statistics, and its running statistics stay those of the client.

    Args:
        network: in training mode.
        reference: at least two images, or their features.
        kind: a name in `ALIGNMENTS`.
        weight: λ > 0.
        generator: on the CPU; for the drawing and the augmentation.
    """
    seen: list[Tensor] = []
    layers = [module for module in network.trunk.modules() if isinstance(module, _BatchNorm)]
    device = next(network.parameters()).device

    def remember(_: nn.Module, received: tuple[Tensor, ...]) -> None:
        seen[:] = received

    def term() -> Tensor:
        order = torch.randperm(len(reference), generator=generator)[:batch_size].numpy()
        stored = to_device(reference.images[reference.indices[order]], device)
        with _no_statistics(layers):
            theirs = network.features(inputs.for_training(stored, generator))
        [ours] = seen
        with torch.autocast(device.type, enabled=False):
            return weight * ALIGNMENTS[kind](ours.float(), theirs.float())

    hook = network.head.register_forward_pre_hook(remember)
    try:
        yield term
    finally:
        hook.remove()
        seen.clear()


@contextmanager
def _no_statistics(layers: list[_BatchNorm]) -> Iterator[None]:
    """Let BatchNorm in training mode leave its running statistics and its counter alone."""
    before = [layer.track_running_stats for layer in layers]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, tracked in zip(layers, before, strict=True):
            layer.track_running_stats = tracked
