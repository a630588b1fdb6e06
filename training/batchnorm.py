"""BatchNorm's statistics recomputed on the images of a test set, without their labels.

Nado et al., Evaluating Prediction-Time Batch Normalization for Robustness under Covariate Shift,
2020; Schneider et al., Improving robustness against common corruptions by covariate shift
adaptation, NeurIPS 2020, section 3, without the source's statistics (N = 0), since there is a whole
test set; it gives each layer the moments of its inputs over the test set, as Li et al., Revisiting
Batch Normalization For Practical Domain Adaptation, 2016, Algorithm 1.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.backbones import build_on_meta
from training.config import ExperimentConfig
from training.epoch import batch_slices
from training.inference import Inputs
from training.split import Split
from training.stored_batches import stored_batches


@dataclass
class _Moments:
    """The moments of a layer's inputs so far, by channel: (C,) float64 on the CPU."""

    count: int
    mean: Tensor
    squares: Tensor  # the sum of squared distances to the mean

    def add(self, other: "_Moments") -> None:
        """Chan et al., Updating formulae and a pairwise algorithm for sample variances, 1982."""
        count = self.count + other.count
        apart = other.mean - self.mean
        self.mean = self.mean + apart * (other.count / count)
        self.squares = self.squares + other.squares + apart**2 * (self.count * other.count / count)
        self.count = count


@contextmanager
def recomputed_batchnorm(
    network: nn.Module,
    split: Split,
    *,
    batch_size: int,
    preprocessing: Inputs,
    seed: int,
    precision: str = "float32",
) -> Iterator[None]:
    """Give BatchNorm the statistics of a test set's images; afterwards it has its own again.

    One pass: each batch is normalised with its own mean and (biased) variance, and each layer's
    statistics are those of its inputs over all batches. The images are put in an order that depends
    on the seed only, so that a batch is not of one class, and the result not of the order of files.
    With a batch as large as the test set no order matters. With fewer than two images, and for
    layers that keep no statistics, nothing is changed.

    Args:
        network: maps the input to outputs; left in evaluation mode.
        split: n images in the order of their ids.
        batch_size: of the pass, ≥ 2; a last batch of one joins the one before it.
        precision: ``float32``, or ``bfloat16`` for autocast on CUDA.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if len(split) < 2 or not layers:
        yield
        return
    kept = [[tensor.clone() for tensor in _statistics(layer)] for layer in layers]
    try:
        generator = torch.Generator().manual_seed(seed)
        order = split.indices[torch.randperm(len(split), generator=generator).numpy()]
        device = _device(network)
        rows = [order[part] for part in batch_slices(len(order), batch_size)]
        inputs = map(preprocessing.for_evaluation, stored_batches(split.images, rows, device))
        for layer, moments in _moments(network, layers, inputs, precision).items():
            _set(layer, moments.mean, moments.squares / moments.count)
        yield
    finally:
        for layer, (mean, variance) in zip(layers, kept, strict=True):
            _set(layer, mean, variance)


def note_without_batchnorm(config: ExperimentConfig) -> list[str]:
    """Return a line if the config asks for recomputed statistics, and its network has none."""
    if config.test_batchnorm == "stored":
        return []
    names = build_on_meta(config.backbone, 1).state_dict()
    if any(name.endswith(".running_mean") for name in names):
        return []
    return [
        f"test-batchnorm = {config.test_batchnorm}: {config.backbone} has no BatchNorm, so it is "
        "judged as it is"
    ]


@torch.inference_mode()
def _moments(
    network: nn.Module, layers: Iterable[_BatchNorm], batches: Iterable[Tensor], precision: str
) -> dict[_BatchNorm, _Moments]:
    """Run the network over batches; return the moments of each layer's inputs that was run."""
    found: dict[_BatchNorm, _Moments] = {}

    def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        values = inputs[0].transpose(0, 1).flatten(1).float()
        variance, mean = torch.var_mean(values, dim=1, correction=0)
        _set(layer, mean, variance)  # in evaluation mode the batch is normalised with these
        count = values.shape[1]
        moments = _Moments(count, mean.cpu().double(), variance.cpu().double() * count)
        if layer in found:
            found[layer].add(moments)
        else:
            found[layer] = moments

    network.eval()
    device = _device(network)
    hooks = [layer.register_forward_pre_hook(before) for layer in layers]
    try:
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _statistics(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean, layer.running_var


def _set(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    for stored, tensor in zip(_statistics(layer), (mean, variance), strict=True):
        stored.copy_(tensor)
