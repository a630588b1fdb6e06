"""FedBN: BatchNorm's parameters and statistics stay at the clients; the rest is averaged.

BatchNorm is known by its running mean. A network without it is averaged as a whole.
"""

from collections.abc import Iterable

from strategies.method import Method


def of_batch_norm(names: Iterable[str]) -> set[str]:
    """Return the arrays of all BatchNorm layers."""
    listed = list(names)
    mean = ".running_mean"
    layers = {name.removesuffix(mean) for name in listed if name.endswith(mean)}
    return {name for name in listed if name.rpartition(".")[0] in layers}


METHOD = Method(
    title="FedBN",
    paper="Li et al., FedBN: Federated Learning on Non-IID Features via Local Batch "
    "Normalization, 2021",
    equation="Algorithm 1",
    local=of_batch_norm,
)
