"""FedProx: FedAvg whose clients are pulled towards the global weights.

A client minimises its loss plus (μ/2)‖w − w_glo‖², squared; the server does what FedAvg does. With
μ = 0 it is FedAvg, to the bit. With one local step per round it equals FedAvg for any μ, since that
step is taken at the global weights, where the term's gradient is 0.

BatchNorm's statistics take the mean, integers the largest value.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strategies.method import ClientHalf, Key, LocalTraining, Method

if TYPE_CHECKING:
    from torch import Tensor


class Pull(ClientHalf):
    """Adds the proximal term's gradient; holds the received weights for it."""

    def __init__(self, training: LocalTraining, mu: float) -> None:
        self._mu = mu
        self._local = list(training.trained.values())
        self._received = training.received()

    def before_step(self) -> None:
        """Add μ(w − w_glo) to the gradients."""
        add_proximal_gradient(self._local, self._received, self._mu)


def add_proximal_gradient(
    parameters: "Sequence[Tensor]", global_parameters: "Sequence[Tensor]", mu: float
) -> None:
    """Add μ(w − w_glo) to every gradient, in place.

    This is the gradient of (μ/2)‖w − w_glo‖², so a step is that of the penalised loss without the
    penalty in the autograd graph. At most one tensor's difference is in memory at a time.

    Args:
        parameters: the local weights w, with gradients; one without a gradient gets one, because
            the penalty applies to it too.
        global_parameters: the received weights w_glo, same order, shapes and device.
        mu: μ ≥ 0; with 0 nothing is changed.
    """
    import torch

    if mu == 0:
        return
    with torch.no_grad():
        for local, received in zip(parameters, global_parameters, strict=True):
            pull = local - received
            if local.grad is None:
                local.grad = pull.mul_(mu)
            else:
                local.grad.add_(pull, alpha=mu)


def client_half(training: LocalTraining) -> Pull | None:
    """Return the pull, or nothing if μ is 0: then the received weights need not be kept."""
    mu = float(training.settings["proximal-mu"])
    return Pull(training, mu) if mu > 0 else None


METHOD = Method(
    title="FedProx",
    paper="Li et al., Federated Optimization in Heterogeneous Networks, 2020",
    equation="equation 2",
    keys={"proximal-mu": Key(0.01, ge=0)},
    client_half=client_half,
)
