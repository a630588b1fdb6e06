"""The client side of FedProx: the proximal term's gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def add_proximal_gradient(
    parameters: Sequence[Tensor], global_parameters: Sequence[Tensor], mu: float
) -> None:
    """Add μ(w − w_glo) to every gradient, in place.

    This is the gradient of (μ/2)‖w − w_glo‖² (Li et al., Federated Optimization in Heterogeneous
    Networks, 2020, equation 2), so a step is that of the penalised loss without the penalty in the
    autograd graph. Call it between ``backward`` and the optimizer's step. At most one tensor's
    difference is in memory at a time.

    Args:
        parameters: the local weights w, with gradients; one without a gradient gets one, because
            the penalty applies to it too.
        global_parameters: the received weights w_glo, same order, shapes and device.
        mu: μ ≥ 0; with 0 nothing is changed, and FedProx is FedAvg.
    """
    if mu == 0:
        return
    for local, received in zip(parameters, global_parameters, strict=True):
        pull = local - received
        if local.grad is None:
            local.grad = pull.mul_(mu)
        else:
            local.grad.add_(pull, alpha=mu)
