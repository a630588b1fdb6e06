"""The estimated memory of a training process."""

from typing import Any

import pytest

from models.activation_sizes import ACTIVATION_BYTES
from training.config import ExperimentConfig, parse
from training.memory import PROCESS_BYTES, batch_bytes, training_bytes, training_memory
from training.study import resolve

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


def trained(device: str = "cpu", **keys: Any) -> ExperimentConfig:
    values = {"backbone": "convnext_l", "image-size": 224, "batch-size": 32, **keys}
    return resolve(parse(values), dataset="ham10000", device=device, threads_per_client=1)


def test_a_batchs_activations_are_what_is_kept_for_the_backward_pass_and_a_quarter_more() -> None:
    assert batch_bytes(trained()) == 1.25 * 32 * ACTIVATION_BYTES["convnext_l"]
    assert batch_bytes(trained(**{"batch-size": 8})) * 4 == batch_bytes(trained())
    assert batch_bytes(
        trained(alignment="coral", **{"reference-dir": "/public"})
    ) == 2 * batch_bytes(trained())
    # Of a frozen network the features are kept, and nothing for gradients.
    assert 4 * batch_bytes(trained(trainable="head")) == batch_bytes(trained())


def test_on_a_gpu_the_network_and_a_batch_are_there_and_messages_are_not() -> None:
    on_cpu = training_memory(trained())
    assert on_cpu.machine == training_bytes(trained()) + batch_bytes(trained())
    assert on_cpu.gpu == 0
    config = trained("cuda")
    found = training_memory(config)
    assert found.machine == training_bytes(config)
    assert found.gpu == 600_000_000 + 4 * CONVNEXT_L + batch_bytes(config)


# Peak gigabytes of training with AdamW, 32 images of 224 pixels, on an NVIDIA H200
# (benchmarks/results/gpu.json), in float32 and bfloat16.
@pytest.mark.parametrize(
    ("backbone", "float32", "bfloat16"),
    [
        ("convnext_t", 3.95, 2.47),
        ("convnext_l", 13.72, 9.08),
        ("maxvit_t", 10.33, 6.09),
        ("swin_v2_b", 11.78, 8.12),
        ("resnet18", 1.02, 0.64),
        ("clip-rn50", 4.22, 2.30),
    ],
)
def test_the_estimate_is_at_least_what_a_gpu_used_and_not_far_from_it(
    backbone: str, float32: float, bfloat16: float
) -> None:
    """Without what CUDA takes for itself, which is not in the peak."""
    for precision, peak in (("float32", float32), ("bfloat16", bfloat16)):
        config = trained("cuda", backbone=backbone, precision=precision)
        assert 1 <= (training_memory(config).gpu / 1e9 - 0.6) / peak <= 1.5
