"""The estimated memory of a training process."""

from typing import Any

import pytest

from training.config import parse
from training.memory import PROCESS_BYTES, training_bytes

CONVNEXT_L = 785 * 10**6


@pytest.mark.parametrize(
    ("keys", "copies"),
    [
        ({}, 6),
        ({"wire-format": "bfloat16"}, 6),
        ({"wire-format": "int8"}, 7),  # what int8 left over
        ({"strategy": "scaffold"}, 9),  # c in the message and in the reply, and the client's own
        ({"strategy": "scaffold", "wire-format": "int8"}, 11),
        ({"strategy": "feddyn"}, 7),
        ({"trainable": "lora"}, 2),
        ({"trainable": "adapter", "wire-format": "int8"}, 2),
    ],
)
def test_copies_of_the_network_beside_a_process(keys: dict[str, Any], copies: int) -> None:
    config = parse({"backbone": "convnext_l", **keys})
    assert training_bytes(config) == PROCESS_BYTES + copies * CONVNEXT_L
