"""FedPer: what stays is what the network's head has, under every ``trainable`` that has one."""

import pytest

from models.backbones import build_on_meta
from strategies.methods import METHODS


@pytest.mark.parametrize("trainable", ["all", "adapter", "lora"])
def test_what_stays_is_the_head(trainable: str) -> None:
    network = build_on_meta("convnext_t", 7, trainable=trainable)
    sent = network.sent_part()
    head = {name for name, tensor in sent.items() if tensor.shape[:1] == (7,)}  # an output a class
    assert len(head) == 2
    assert METHODS["fedper"].local_names(sent) == head < sent.keys()
