"""FedPer: the head stays at the clients; the rest is averaged.

The paper's personalization layers are the last K_P; here they are the last one.

BatchNorm's statistics, all of the trunk, take the mean, integers the largest value.
"""

from collections.abc import Iterable

from strategies.method import Method


def of_head(names: Iterable[str]) -> set[str]:
    """Return the arrays of the head."""
    return {name for name in names if name.startswith("head.")}


METHOD = Method(
    title="FedPer",
    paper="Arivazhagan et al., Federated Learning with Personalization Layers, 2019",
    equation="Algorithms 1 and 2",
    local=of_head,
)
