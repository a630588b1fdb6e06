"""FedBN: what stays is BatchNorm, by the network's own modules; without BatchNorm it is FedAvg."""

from dataclasses import fields

import pytest
from torch.nn.modules.batchnorm import _BatchNorm

from models.backbones import build_on_meta
from strategies.method import Method
from strategies.methods import METHODS

FEDBN, FEDAVG = METHODS["fedbn"], METHODS["fedavg"]


@pytest.mark.parametrize("backbone, num_layers", [("resnet18", 20), ("convnext_t", 0)])
def test_what_stays_is_batch_norm(backbone: str, num_layers: int) -> None:
    """resnet18: the stem, two in each of 8 blocks, 3 where the width changes. A layer has weight,
    bias, mean, variance and counter; convnext_t has LayerNorm."""
    network = build_on_meta(backbone, 7)
    expected = {
        f"{layer}.{array}"
        for layer, module in network.named_modules()
        if isinstance(module, _BatchNorm)
        for array in module.state_dict()
    }
    assert len(expected) == 5 * num_layers
    assert FEDBN.local_names(network.state_dict()) == expected


def test_the_rest_is_federated_averaging() -> None:
    """So on a network without BatchNorm it is FedAvg to the bit: nothing is left to differ."""
    said = ("title", "paper", "equation", "local")
    for field in fields(Method):
        if field.name not in said:
            assert getattr(FEDBN, field.name) == getattr(FEDAVG, field.name), field.name
