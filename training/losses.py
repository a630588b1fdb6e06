"""The losses by name, with what each needs. torch is imported when one is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from operation.extension_point import ExtensionPoint
from strategies.method import Key, Settings
from strategies.package_methods import fault_of_keys
from training.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class LossFunction(Protocol):
    """Maps logits (B, K) and labels (B,) to the mean loss of a batch."""

    def __call__(self, logits: Tensor, labels: Tensor, /) -> Tensor: ...


# Of the number of training images of each class, (K,) int64, and the config's keys.
Build: TypeAlias = "Callable[[NDArray[np.int64], Settings], LossFunction]"
Weights: TypeAlias = "Callable[[NDArray[np.int64], Settings], NDArray[np.float64]]"


@dataclass(frozen=True)
class Loss:
    """A row of the table.

    Attributes:
        build: returns the function, from the number of training images of each class and the
            config's keys.
        late: takes the place of ``build`` after `DEFERRED` of the rounds.
        objectives: with which it can be used.
        weights: returns the weight of an image of each class in the mean that a batch's loss is,
            (K,), from the same; None: all images weigh alike.
        late_weights: takes the place of ``weights`` together with ``late``.
        whole_batch: whether a batch's loss is no mean over its images, since it compares them; then
            gradients cannot be accumulated.
        keys: the config's keys that it reads. Two losses may declare the same key, if equally.
    """

    build: Build
    late: Build | None = None
    objectives: tuple[str, ...] = ("classifier", "clip")
    weights: Weights | None = None
    late_weights: Weights | None = None
    whole_batch: bool = False
    keys: Mapping[str, Key] = field(default_factory=dict)


DEFERRED = 0.8
"""The share of the rounds after which weights begin: 160 of 200 epochs in Cao et al. (2019)."""


def loss_function(
    settings: Settings, counts: NDArray[np.int64], *, late: bool = False
) -> LossFunction:
    """Return the loss that a config names.

    Under objective clip the logits are similarities/τ, whose softmax is Equation 1 of the study
    (docs/study.md).

    Args:
        settings: the flat keys of a resolved config.
        counts: number of training images of each class, (K,).
        late: whether more than `DEFERRED` of the rounds are done.
    """
    name = settings["loss"]
    row = LOSSES[name]
    found = (row.late if late and row.late is not None else row.build)(counts, settings)
    return found if name in OWN else _checked(name, found)


def class_weights(
    settings: Settings, counts: NDArray[np.int64], *, late: bool = False
) -> NDArray[np.float64] | None:
    """Return the weights (K,) by which the loss that a config names averages over a batch's images.

    Arguments as for `loss_function`. The values are float32's, with which the loss computes. None:
    it averages evenly.

    Raises:
        TrainingError: a package's weights are not K numbers ≥ 0.
    """
    import numpy as np

    name = settings["loss"]
    row = LOSSES[name]
    make = row.late_weights if late and row.late is not None else row.weights
    if make is None:
        return None
    weights = np.asarray(make(counts, settings), dtype=np.float32).astype(np.float64)
    if weights.shape != counts.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise TrainingError(
            f"loss = {name!r}: its weights are not {len(counts)} numbers of at least 0, one for "
            "each class"
        )
    return weights


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


def _cross_entropy(_: NDArray[np.int64], __: Settings) -> LossFunction:
    from torch.nn import functional

    return functional.cross_entropy


def _weighted(weights: NDArray[np.float64]) -> LossFunction:
    """Return cross-entropy in which an image weighs as its class.

    A batch's loss is divided by the sum of its images' weights.
    """
    import torch
    from torch.nn import functional

    of_class = torch.tensor(weights, dtype=torch.float32)

    def weighted(logits: Tensor, labels: Tensor) -> Tensor:
        exact = torch.promote_types(logits.dtype, of_class.dtype)  # logits may be bfloat16
        return functional.cross_entropy(
            logits, labels, of_class.to(logits.device, exact, non_blocking=True)
        )

    return weighted


def _balanced_weights(counts: NDArray[np.int64], _: Settings) -> NDArray[np.float64]:
    """Return the weight of each class n / (K n_c), as scikit-learn's ``balanced``.

    K is the number of classes with training images, n_c that of images of class c.
    """
    import numpy as np

    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights


def _effective_number_weights(counts: NDArray[np.int64], settings: Settings) -> NDArray[np.float64]:
    """Return the weight of each class by its effective number of images.

    Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, Section 4:
    (1 - β) / (1 - β^n_c), scaled so that the weights of the K classes with images sum to K.
    """
    import numpy as np

    beta, present = settings["effective-number-beta"], counts > 0
    weights = np.zeros(len(counts))
    weights[present] = (1 - beta) / (1 - beta ** counts[present].astype(float))
    return weights * (present.sum() / weights.sum())


def _logit_adjusted(counts: NDArray[np.int64], _: Settings) -> LossFunction:
    """Cross-entropy of logits plus log π_c, the classes' shares of the training images.

    Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, Equation 10, with τ = 1; the
    same as the balanced softmax of Ren et al., Balanced Meta-Softmax, NeurIPS 2020. A class without
    images takes no part in training.
    """
    import torch
    from torch.nn import functional

    log_shares = torch.log(torch.tensor(counts / counts.sum(), dtype=torch.float32))

    def adjusted(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits + log_shares.to(logits.device, non_blocking=True), labels
        )

    return adjusted


def _focal(_: NDArray[np.int64], settings: Settings) -> LossFunction:
    """The mean of -(1 - p)^γ log p, p being the probability of the true class.

    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Equation 4, over a softmax.
    """
    import torch
    from torch.nn import functional

    gamma = settings["focal-gamma"]

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        of_truth = -functional.cross_entropy(logits, labels, reduction="none")
        rest = 1 - of_truth.exp()
        if gamma < 1:  # the derivative of 0^γ, where p is 1, would be infinite
            rest = rest.clamp(min=torch.finfo(rest.dtype).tiny)
        return -(rest**gamma * of_truth).mean()

    return focal


def _ldam(
    counts: NDArray[np.int64], settings: Settings, weights: NDArray[np.float64] | None = None
) -> LossFunction:
    """Cross-entropy after a margin is taken from the true class's logit, larger for rarer ones.

    Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS
    2019, Section 3.2: Δ_c = C / n_c^(1/4), with C so that the largest is ``ldam-margin``. The
    logits are the network's, neither normalised nor scaled.
    """
    import numpy as np
    import torch
    from torch.nn import functional

    largest, present = settings["ldam-margin"], counts > 0
    roots = np.zeros(len(counts))
    roots[present] = counts[present] ** -0.25
    of_class = torch.tensor(roots * (largest / roots.max()), dtype=torch.float32)
    loss = functional.cross_entropy if weights is None else _weighted(weights)

    def ldam(logits: Tensor, labels: Tensor) -> Tensor:
        margins = of_class.to(logits.device, non_blocking=True)
        return loss(logits - functional.one_hot(labels, len(counts)) * margins, labels)

    return ldam


def _contrastive(_: NDArray[np.int64], __: Settings) -> LossFunction:
    from models.clip import contrastive_loss

    return contrastive_loss


def _fault(_: str, found: object) -> str:
    if not isinstance(found, Loss):
        return f"is of type {type(found).__name__}, not Loss"
    if not callable(found.build) or not (found.late is None or callable(found.late)):
        return "has a build or a late that is not a function"
    if not all(make is None or callable(make) for make in (found.weights, found.late_weights)):
        return "has weights that are not a function"
    return fault_of_keys(found.keys)


_BETA = {"effective-number-beta": Key(0.9999, ge=0, lt=1)}

OWN: Mapping[str, Loss] = {
    "cross-entropy": Loss(_cross_entropy),
    "balanced": Loss(
        lambda n, keys: _weighted(_balanced_weights(n, keys)), weights=_balanced_weights
    ),
    "effective-number": Loss(
        lambda n, keys: _weighted(_effective_number_weights(n, keys)),
        weights=_effective_number_weights,
        keys=_BETA,
    ),
    "logit-adjusted": Loss(_logit_adjusted),
    "focal": Loss(_focal, keys={"focal-gamma": Key(2.0, ge=0)}),
    "ldam": Loss(
        _ldam,
        # The deferred re-weighting of Cao et al., Algorithm 1, by effective numbers.
        late=lambda n, keys: _ldam(n, keys, _effective_number_weights(n, keys)),
        late_weights=_effective_number_weights,
        keys=_BETA | {"ldam-margin": Key(0.5, ge=0)},
    ),
    "contrastive": Loss(_contrastive, objectives=("clip",), whole_batch=True),
}
LOSSES: ExtensionPoint[Loss] = ExtensionPoint("losses", OWN, OWN.__getitem__, _fault)
# What ``auto`` means, by objective: the study's.
STUDY_LOSSES = {"classifier": "cross-entropy", "clip": "contrastive"}
